"""How much a request may be: its address, its headers, its body, its nesting, and its time."""

from __future__ import annotations

import asyncio
import re

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from policy_store.review.api_errors import answer, is_api

MAX_BODY_BYTES = 256 * 1024
MAX_TARGET_BYTES = 4 * 1024
MAX_HEADER_BYTES = 16 * 1024
MAX_JSON_DEPTH = 16
BODY_S = 10.0

# What brackets mean inside a string; an unfinished one runs to the end.
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)', re.DOTALL)


class Refused(Exception):
    """A request that is not read to its end, with the status and the sentence that say so."""

    def __init__(self, status: int, sentence: str) -> None:
        self.status = status
        super().__init__(sentence)


class Bounds:
    """Reads every body before anything else sees it, and refuses what is too much.

    No page takes more than a policy and a note, so bodies are small enough to be kept whole, and
    a slow sender holds no thread.
    """

    def __init__(self, app: ASGIApp, body_s: float = BODY_S) -> None:
        self._app = app
        self._body_s = body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body read, or say why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            check_head(scope)
            if not has_body(headers):
                await self._app(scope, receive, send)
                return
            async with asyncio.timeout(self._body_s):
                body = await whole(receive, headers)
            if "json" in headers.get("content-type", ""):
                check_depth(body)
        except TimeoutError:
            sentence = f"The request took over {self._body_s:g} s to arrive."
            await refusal(scope, 408, sentence)(scope, receive, send)
        except Refused as error:
            await refusal(scope, error.status, str(error))(scope, receive, send)
        else:
            await self._app(scope, replayed(body, receive), send)


def refusal(scope: Scope, status: int, sentence: str) -> Response:
    """What a request hears that is not let in: JSON for programs, a line of text for people."""
    closing = {"Connection": "close"} if status in (408, 413) else None
    if is_api(scope["path"]):
        return answer(status, sentence, headers=closing)
    return PlainTextResponse(sentence + "\n", status, closing)


def check_head(scope: Scope) -> None:
    """Pass an address and headers of a usual length."""
    target = len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
    if target > MAX_TARGET_BYTES:
        raise Refused(414, f"An address has at most {MAX_TARGET_BYTES} bytes.")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
        raise Refused(431, f"Headers have at most {MAX_HEADER_BYTES} bytes together.")


def has_body(headers: Headers) -> bool:
    """Whether a body follows."""
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


async def whole(receive: Receive, headers: Headers) -> bytes:
    """The whole body, counted while it comes: a length that is told may be a lie, or missing."""
    told = headers.get("content-length", "0")
    if told.isdecimal() and int(told[:20]) > MAX_BODY_BYTES:
        raise Refused(413, f"A request has at most {MAX_BODY_BYTES} bytes.")
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "The request ended too early.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise Refused(413, f"A request has at most {MAX_BODY_BYTES} bytes.")
        if not message.get("more_body", False):
            return b"".join(parts)


def check_depth(body: bytes) -> None:
    """Pass JSON that is nested no deeper than anything here needs."""
    depth = 0
    for byte in _STRINGS.sub(b"", body):
        if byte in b"[{":
            depth += 1
            if depth > MAX_JSON_DEPTH:
                raise Refused(400, f"JSON is nested at most {MAX_JSON_DEPTH} deep here.")
        elif byte in b"]}":
            depth -= 1


def replayed(body: bytes, receive: Receive) -> Receive:
    """A channel that gives the body at once, then what really comes: that the client has gone."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
