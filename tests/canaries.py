"""Marks, requests with one in everything a sender chooses, and engines' answers full of them."""

import json
import re
import secrets
from collections.abc import Iterator, Mapping

MODEL = "tiny"


class Canaries:
    """Words and numbers that occur nowhere else; `found` tells which of them a text holds."""

    def __init__(self) -> None:
        self._run = secrets.token_hex(5)
        self.places: dict[str, str] = {}

    def word(self, place: str) -> str:
        """A new word for a place; letters and digits, the same in upper and lower case."""
        return self._new(place, f"canary{self._run}n{len(self.places):04d}z")

    def number(self, place: str) -> int:
        """A new number for a place: twelve digits, within what JSON keeps exactly."""
        return int(self._new(place, str(10**11 + secrets.randbelow(9 * 10**11))))

    def _new(self, place: str, mark: str) -> str:
        self.places[mark] = place
        return mark

    def found(self, text: bytes | str) -> set[str]:
        """Places whose mark is in the text; numbers also as 64 bits, low byte first."""
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        low = data.lower()
        words = {mark.decode() for mark in re.findall(rf"canary{self._run}n\d+z".encode(), low)}
        numbers = {mark.decode() for mark in re.findall(rb"(?<!\d)\d{12}(?!\d)", data)}
        packed = {
            mark
            for mark in self.places
            if mark.isdigit() and int(mark).to_bytes(8, "little") in data
        }
        return {self.places[mark] for mark in (words | numbers | packed) & self.places.keys()}


def bodies(c: Canaries) -> Iterator[tuple[str, dict[str, object]]]:
    """Endpoint and body of well-formed requests."""
    yield "chat/completions", _chat(c)
    yield "chat/completions", {**_chat(c), "stream": True, "max_tokens": 3}
    yield "chat/completions", {"model": MODEL, "messages": [], c.word("unknown key"): [
        {c.word("nested key"): c.word("nested value")}, c.number("nested number")]}
    yield "completions", {"model": MODEL, "prompt": c.word("prompt"), "suffix": c.word("suffix"),
                          "user": c.word("user"), "stop": c.word("stop string")}
    yield "completions", {"model": c.word("model alias"), "prompt": [c.word("prompt in a list")],
                          "lora_name": c.word("lora name"), "adapter_id": c.word("adapter id")}
    yield "completions", {"model": MODEL, "prompt": [c.number("token id"), c.number("token id 2")],
                          "seed": c.number("seed"), "max_tokens": 2, "stream": True,
                          "logit_bias": {str(c.number("biased token")): 1},
                          "vllm_xargs": {c.word("engine option"): c.word("engine option value")}}
    yield "embeddings", {"model": MODEL, "input": [c.word("embedded text")],
                         "encoding_format": c.word("encoding format")}


def _chat(c: Canaries) -> dict[str, object]:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{c.word('image')}"}}
    call = {"id": c.word("call id"), "type": "function", "function": {
        "name": c.word("called tool"), "arguments": json.dumps({"q": c.word("tool argument")})}}
    return {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": c.word("system prompt")},
            {"role": "user", "name": c.word("name of a user"), "content": [
                {"type": "text", "text": c.word("text part")}, part]},
            {"role": "assistant", "content": c.word("earlier answer"), "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": c.word("tool result")},
            {"role": c.word("role"), "content": c.word("odd role's text")},
        ],
        "tools": [{"type": "function", "function": {
            "name": c.word("tool"), "description": c.word("tool description"),
            "parameters": {"type": "object", "properties": {c.word("tool parameter"): {}}}}}],
        "response_format": {"type": "json_schema", "json_schema": {
            "name": c.word("schema"), "schema": {"const": c.word("schema value")}}},
        "user": c.word("user of a chat"),
        "metadata": {c.word("metadata key"): c.word("metadata value")},
        "stop": [c.word("stop string of a chat")],
        "prompt_cache_key": c.word("prompt cache key"),
        "safety_identifier": c.word("safety identifier"),
        "prediction": {"type": "content", "content": c.word("prediction")},
    }  # fmt: skip


def headers(c: Canaries) -> dict[str, str]:
    """Everything about a sender that headers tell, and names of headers."""
    return {
        "X-Session-Id": c.word("session"),
        "X-Tenant-Id": c.word("tenant"),
        "X-Request-Id": c.word("request id"),
        "Authorization": f"Bearer {c.word('authorization')}",
        "Cookie": f"{c.word('cookie name')}={c.word('cookie')}",
        "User-Agent": c.word("user agent"),
        "Referer": f"https://{c.word('referer')}/",
        "Forwarded": f"for={c.word('forwarded for')}",
        "traceparent": f"00-{c.word('trace id')}-{c.word('span id')}-01",
        "baggage": f"{c.word('baggage key')}={c.word('baggage')}",
        f"X-{c.word('header name')}": c.word("header value"),
        "Accept": f"application/{c.word('accepted type')}",
    }


def bad_bodies(c: Canaries) -> Iterator[tuple[bytes, dict[str, str]]]:
    """Bodies that are refused, with headers that belong to them."""
    yield f"no json {c.word('body that is no JSON')}".encode(), {}
    yield json.dumps([c.word("body that is a list")]).encode(), {}
    yield json.dumps({"max_tokens": c.word("limit that is no number")}).encode(), {}
    yield json.dumps({"model": c.word("model beside a bad limit"), "max_tokens": -1}).encode(), {}
    yield b'{"prompt": "\xff\xfe' + c.word("body that is not UTF-8").encode() + b'"}', {}
    deep = b'{"prompt": ' + b"[" * 90_000 + c.word("body nested too deeply").encode()
    yield deep, {}
    nested = f'"{c.word("prompt nested too deeply")}"'
    yield b'{"prompt": ' + b"[" * 900 + nested.encode() + b"]" * 900 + b"}", {}
    yield b'{"prompt": "' + c.word("oversized body").encode() * 1_700_000 + b'"}', {}
    zipped = {"Content-Encoding": "gzip"}
    yield c.word("body that is not compressed").encode(), zipped
    yield b"{}", {"Content-Type": f"application/{c.word('content type')}; charset=klingon"}
    yield b"{}", {"Expect": c.word("expectation")}


def paths(c: Canaries) -> Iterator[str]:
    """Paths and queries, some of them unknown."""
    yield f"/v1/completions?{c.word('query key')}={c.word('query value')}"
    yield f"/v1/completions/{c.word('path suffix')}"
    yield f"/{c.word('path')}?a=%00%ff{c.word('query after bad escapes')}"
    yield f"/metrics/{c.word('path below the metrics')}"


def raw(c: Canaries) -> Iterator[bytes]:
    """What no HTTP client would send."""
    end = b"\r\nHost: x\r\n\r\n"
    for place, line in {
        "method": "{} /v1/completions HTTP/1.1",
        "method of lower case": "x{} / HTTP/1.1",
        "version": "POST / HTTP/{}",
        "missing version": "GET /{}",
        "absolute address": "GET http://{}:99999/ HTTP/1.1",
        "connect target": "CONNECT {}:443 HTTP/1.1",
        "junk": "\x16\x03\x01{}",
        "control characters": "GET /\x01\x02{} HTTP/1.1",
    }.items():
        yield line.format(c.word(place)).encode("latin-1") + end
    post = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
    for place, line in {
        "line that is no header": "{}",
        "header name with a space": "X {}: 1",
        "bad header value": "X-A: \x00{}",
        "header that is too long": "X-A: " + "a" * 70_000 + "{}",
        "length that is no number": "Content-Length: {}",
        "transfer encoding": "Transfer-Encoding: {}",
        "content encoding": "Content-Length: 2\r\nContent-Encoding: {}\r\n\r\n{{}}",
        "chunk size": "Transfer-Encoding: chunked\r\n\r\n{}",
        "chunk that ends early": "Transfer-Encoding: chunked\r\n\r\n5\r\nab{}",
        "upgrade": "Connection: Upgrade\r\nUpgrade: {}\r\nContent-Length: 2\r\n\r\n",
        "host": "Host: {}\r\nContent-Length: 1\r\n\r\n{{",
    }.items():
        yield post + line.format(c.word(place)).encode("latin-1") + b"\r\n\r\n"
    short = c.word("body shorter than its length")
    yield post + b"Content-Length: 9000\r\n\r\n" + short.encode()


def answers(c: Canaries) -> list[bytes]:
    """Whole HTTP answers of an engine, well-formed and not."""
    choice = {"index": 0, "text": c.word("completion"), "finish_reason": c.word("finish reason")}
    good = {"id": c.word("answer id"), "model": c.word("answering model"), "choices": [choice],
            "system_fingerprint": c.word("fingerprint"),
            "usage": {"prompt_tokens": 3, "completion_tokens": 5, c.word("usage key"): 1}}
    odd = {"usage": {"prompt_tokens": c.word("usage that is no number"), "completion_tokens": 1}}
    event = {"choices": [{"delta": {"content": c.word("streamed token")}}], "usage": None}
    stream = f"data: {json.dumps(event)}\n\n: {c.word('comment in a stream')}\n\ndata: [DONE]\n\n"
    error = {"error": {"message": c.word("engine's error"), "type": c.word("type of its error")}}
    heads = {c.word("answer header").title(): c.word("answer header's value"),
             "Set-Cookie": f"a={c.word('engine cookie')}"}
    json_of = "application/json"
    return [
        _answer("200 OK", json_of, json.dumps(good), heads),
        _answer("200 OK", "text/event-stream", stream),
        _answer("200 OK", json_of, json.dumps(odd)),
        _answer("200 OK", json_of, c.word("answer that is no JSON")),
        _answer("200 OK", c.word("answer type"), "{}"),
        _answer(f"400 {c.word('reason phrase')}", json_of, json.dumps(error)),
        _answer("429 Too Many", json_of, json.dumps(error)),
        _answer(f"503 {c.word('reason of a failure')}", json_of, json.dumps(error)),
        _answer("307 Away", json_of, "", {"Location": f"http://{c.word('redirect')}/"}),
        f"HTTP/1.1 {c.word('status that is no number')}\r\n\r\n".encode(),
        f"{c.word('answer that is no HTTP')}\r\n\r\n".encode(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + c.word("bad chunk of an answer").encode() + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\nContent-Type: text/event-stream\r\n\r\ndata: "
        + c.word("answer that breaks off").encode() + b"\n\n",
    ]  # fmt: skip


def _answer(
    status: str, kind: str, body: str, more: Mapping[str, str] | None = None
) -> bytes:
    head = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"{name}: {value}" for name, value in {**head, **(more or {})}.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", body]).encode()


def metrics_page(c: Canaries) -> bytes:
    """An engine's metrics with marks in names, labels, help and lines that are no metrics."""
    page = (
        f"# HELP vllm:num_requests_running {c.word('help of a metric')}\n"
        f'vllm:num_requests_running{{model_name="{c.word("model label")}",engine="0"}} 2\n'
        f'vllm:num_requests_waiting{{model_name="x",lora="{c.word("lora label")}"}} 1\n'
        f"vllm:{c.word('metric name')} 4\n"
        f"vllm:num_requests_waiting {c.word('metric value')}\n"
        f'vllm:cache_config_info{{block_size="{c.word("block size")}",num_gpu_blocks="7"}} 1\n'
    )
    return _answer("200 OK", "text/plain", page)
