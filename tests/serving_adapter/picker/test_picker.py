"""The endpoint picker over real gRPC, as a proxy sees it."""

import asyncio
import json

import pytest
from told_signals import PAGE, rows_of, wrongly_told

pytest.importorskip("grpc", reason="needs the envoy extra")

from sandbox.signal_profiles import signal_profile
from serving_adapter.decision import BUILT_IN_DIGEST
from serving_adapter.request_log import RequestOutcome
from telemetry.engine_signals import parse_signals

from .conftest import BODY, ENGINES

CANARY = "canary-8c1f"
RAW = json.dumps(BODY).encode()
ADDRESSES = [url.removeprefix("http://") for url in ENGINES]
SSE = b'data: {"choices":[{"text":"a"}]}\n\ndata: {"choices":[{"text":"b"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'


def destinations(response) -> list[str]:
    """Where a response sends the request, having said it the same way twice."""
    kind = response.WhichOneof("response")
    mutation = getattr(response, kind).response.header_mutation
    headers = {one.header.key: one.header.raw_value.decode() for one in mutation.set_headers}
    named = response.dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"]
    assert headers == {"x-gateway-destination-endpoint": named}
    return named.split(",")


def refusal(response) -> tuple[int, dict, dict]:
    immediate = response.immediate_response
    named = (one.header for one in immediate.headers.set_headers)
    headers = {header.key: header.raw_value.decode() for header in named}
    return immediate.status.code, headers, json.loads(immediate.body)["error"]


async def recorded(stand, count: int):
    async with asyncio.timeout(5):
        while len(stand.records) < count:
            await asyncio.sleep(0.001)
    return stand.records


@pytest.mark.parametrize(("word", "first"), [("first", 0), ("last", 2)])
async def test_a_buffered_body_is_decided_by_the_policy(stand_of, word, first):
    stand = await stand_of()
    await stand.host.swap(word, 1)
    response = await stand.ask()
    assert response.WhichOneof("response") == "request_body"
    assert destinations(response)[0] == ADDRESSES[first]
    assert sorted(destinations(response)) == ADDRESSES


async def test_fallbacks_are_those_with_the_fewest_requests_first(stand_of):
    stand = await stand_of(fallbacks=1)
    await stand.host.swap("first", 1)
    busy = stand.stream()
    await busy.head(subset=[ADDRESSES[1]])
    await busy.answer()
    await busy.body(RAW)
    assert destinations(await busy.answer()) == [ADDRESSES[1]]
    assert destinations(await stand.ask()) == [ADDRESSES[0], ADDRESSES[2]]


async def test_a_full_duplex_body_comes_back_whole_and_in_pieces_a_proxy_takes(stand_of):
    stand = await stand_of()
    raw = json.dumps({**BODY, "prompt": "x" * 200_000}).encode()
    asked = stand.stream("FULL_DUPLEX_STREAMED")
    await asked.head()
    await asked.body(*(raw[start : start + 30_000] for start in range(0, len(raw), 30_000)))
    head = await asked.answer()
    assert destinations(head)[0] in ADDRESSES
    echoed = b""
    while True:
        piece = (await asked.answer()).request_body.response.body_mutation.streamed_response
        assert len(piece.body) < 64 * 1024
        echoed += piece.body
        if piece.end_of_stream:
            break
    assert echoed == raw


async def test_full_duplex_is_assumed_and_trailers_end_a_body(stand_of):
    stand = await stand_of()
    asked = stand.stream("FULL_DUPLEX_STREAMED")
    await asked.head(says_mode=False)
    await asked.body(RAW, ended=False)
    await asked.send(request_trailers={})
    kinds = [(await asked.answer()).WhichOneof("response") for _ in range(3)]
    assert kinds == ["request_headers", "request_body", "request_trailers"]


async def test_a_request_without_a_body_is_decided_by_its_head(stand_of, word_digest):
    stand = await stand_of()
    await stand.host.swap("last", 1)
    asked = stand.stream()
    await asked.head(path="/v1/models?a=b", method="GET", ended=True)
    assert destinations(await asked.answer())
    await asked.call.done_writing()
    hidden = stand.stream("NONE")
    await hidden.head(content_length="400")
    assert destinations(await hidden.answer())[0] == ADDRESSES[2]
    await hidden.call.done_writing()
    models, text = await recorded(stand, 2)
    assert (models.endpoint, models.digest) == ("models", BUILT_IN_DIGEST)
    assert (text.endpoint, text.digest, text.prompt_tokens) == (
        "completions",
        word_digest("last"),
        100,
    )


@pytest.mark.parametrize("hint", [[ADDRESSES[1], "10.0.0.1:1"], f"10.0.0.1:1, {ADDRESSES[1]}"])
async def test_a_subset_is_all_that_is_picked_from(stand_of, hint):
    stand = await stand_of()
    await stand.host.swap("first", 1)
    assert destinations(await stand.ask(subset=hint)) == [ADDRESSES[1]]


@pytest.mark.parametrize("hint", [[], ["10.0.0.1:1"]])
async def test_a_subset_without_an_engine_is_503(stand_of, hint):
    stand = await stand_of()
    status, headers, error = refusal(await stand.ask(subset=hint))
    assert (status, headers["retry-after"], error["code"]) == (503, "1", 503)


async def test_no_engine_is_503_and_a_refusing_policy_429(stand_of):
    stand = await stand_of(ENGINES[0])
    await stand.host.swap("reject", 1)
    status, headers, error = refusal(await stand.ask())
    assert (status, headers["retry-after"], error["type"]) == (429, "1", "rate_limit_error")
    stand.host.table.set_open(0, False)
    assert refusal(await stand.ask())[0] == 503
    records = await recorded(stand, 2)
    assert [one.outcome for one in records] == [RequestOutcome.REJECTED, RequestOutcome.NO_ENGINE]


async def test_a_held_request_is_decided_when_its_time_is_up(stand_of):
    stand = await stand_of(max_hold_s=0.02, hold_tick_s=0.005)
    await stand.host.swap("hold", 1)
    assert destinations(await stand.ask())
    (record,) = await recorded(stand, 1)
    assert (record.sequence, record.digest) == (1, BUILT_IN_DIGEST)
    assert record.waited_s >= 0.02


async def test_an_engine_that_goes_while_a_request_is_held_is_not_picked(stand_of):
    stand = await stand_of(ENGINES[0], ENGINES[1], max_hold_s=0.1, hold_tick_s=60.0)
    await stand.host.swap("hold", 1)
    asking = asyncio.create_task(stand.ask())
    async with asyncio.timeout(5):
        while not len(stand.picker.visits.holding):
            await asyncio.sleep(0.001)
    stand.picker._endpoints._remove(ADDRESSES[0])
    await asyncio.sleep(0.1)
    stand.picker.visits.holding.capacity_changed()
    assert destinations(await asking) == [ADDRESSES[1]]


@pytest.mark.parametrize("mode", ["BUFFERED", "FULL_DUPLEX_STREAMED"])
@pytest.mark.parametrize("raw", [b"no json", b"[]", b'{"max_tokens": "many"}', b"\xff", b""])
async def test_a_bad_body_is_refused_as_an_openai_error(stand_of, mode, raw):
    stand = await stand_of()
    asked = stand.stream(mode)
    await asked.head()
    if mode == "BUFFERED":
        await asked.answer()
    await asked.body(raw)
    status, _, error = refusal(await asked.answer())
    assert (status, error["type"]) == (400, "BadRequestError")


async def test_an_answer_of_the_proxys_own_passes_and_is_no_request(stand_of):
    """It has given up on the request before its body was whole."""
    stand = await stand_of()
    asked = stand.stream("FULL_DUPLEX_STREAMED")
    await asked.head()
    await asked.body(RAW[:10], ended=False)
    assert (await asked.answers("413")).HasField("response_headers")
    await asked.send(response_body={"body": b"no", "end_of_stream": True})
    echoed = (await asked.answer()).response_body.response.body_mutation.streamed_response
    assert (echoed.body, echoed.end_of_stream) == (b"no", True)
    await asked.call.done_writing()
    assert (await asked.call.code()).name == "OK"
    assert stand.records == []


async def test_a_failure_of_the_picker_tells_nobody_what_was_asked(stand_of, caplog, monkeypatch):
    def fail(*_):
        raise RuntimeError(CANARY)

    stand = await stand_of()
    monkeypatch.setattr(stand.picker.visits.facts, "read", fail)
    asked = stand.stream()
    await asked.head()
    await asked.answer()
    await asked.body(RAW)
    assert (await asked.call.code()).name == "INTERNAL"
    assert "RuntimeError in " in caplog.text
    assert CANARY not in caplog.text


async def test_a_body_above_the_bound_is_refused(stand_of):
    stand = await stand_of(max_body_bytes=1000)
    asked = stand.stream("FULL_DUPLEX_STREAMED")
    await asked.head()
    await asked.body(*[b"x" * 400] * 3, ended=False)
    assert refusal(await asked.answer())[0] == 413


async def test_the_answer_is_observed(stand_of, word_digest):
    stand = await stand_of()
    await stand.host.swap("first", 7)
    asked = stand.stream("FULL_DUPLEX_STREAMED")
    await asked.head(x_session_id="s")
    await asked.body(RAW)
    await asked.answer()
    await asked.answer()
    assert stand.host.table.row(0)["queued_requests"] == 1
    head = await asked.answers(kind="text/event-stream")
    named = head.response_headers.response.header_mutation.set_headers
    said = {one.header.key: one.header.raw_value.decode() for one in named}
    assert said.pop("X-Evolver-Decision")
    assert said == {
        "X-Evolver-Sequence": "7",
        "X-Evolver-Policy": word_digest("first"),
        "X-Evolver-Instance": "0",
    }
    for piece, ended in ((SSE[:20], False), (SSE[20:] + USAGE, False), (b"data: [DONE]\n\n", True)):
        await asked.send(response_body={"body": piece, "end_of_stream": ended})
        echoed = (await asked.answer()).response_body.response.body_mutation.streamed_response
        assert (echoed.body, echoed.end_of_stream) == (piece, ended)
    (record,) = await recorded(stand, 1)
    assert (record.outcome, record.status, record.instance_id) == (RequestOutcome.OK, 200, 0)
    assert (record.prompt_tokens, record.output_tokens, record.usage) == (3, 2, True)
    assert 0 <= record.ttft_s <= record.e2e_s
    assert stand.host.table.row(0)["running_requests"] == 0
    follow_up = stand.picker.visits.facts.read(BODY, {"x-session-id": "s"}, 0.0)
    assert (follow_up.turn, follow_up.last_instance, follow_up.cached_tokens) == (1, 0, 3)


async def test_an_answer_from_a_fallback_counts_where_it_was_served(stand_of):
    stand = await stand_of()
    await stand.host.swap("first", 1)
    asked = stand.stream()
    await asked.head()
    await asked.answer()
    await asked.body(RAW)
    _, second, _ = destinations(await asked.answer())
    await asked.answers(served=second)
    await asked.call.done_writing()
    (record,) = await recorded(stand, 1)
    assert (record.instance_id, record.attempts) == (ADDRESSES.index(second), 2)
    assert (record.outcome, record.digest) == (RequestOutcome.OK, BUILT_IN_DIGEST)
    async with asyncio.timeout(5):  # it is asked at once whether it is alive, and nobody answers
        while stand.host.table.is_open(0):
            await asyncio.sleep(0.001)
    assert stand.host.table.is_open(2)


@pytest.mark.parametrize("pieces", [0, 1])
async def test_a_client_that_leaves_leaves_nothing_behind(stand_of, pieces):
    stand = await stand_of()
    asked = stand.stream()
    await asked.head()
    await asked.answer()
    await asked.body(RAW)
    await asked.answer()
    if pieces:
        await asked.answers(kind="text/event-stream")
        await asked.send(response_body={"body": SSE})
        await asked.answer()
    asked.call.cancel()
    (record,) = await recorded(stand, 1)
    assert record.outcome is RequestOutcome.ABANDONED
    assert stand.picker.visits.active == 0
    assert all(stand.host.table.row(number)["queued_requests"] == 0 for number in range(3))


async def test_a_client_that_leaves_while_held_is_not_held_on(stand_of):
    stand = await stand_of()
    await stand.host.swap("hold", 1)
    asked = stand.stream()
    await asked.head()
    await asked.answer()
    await asked.body(RAW)
    async with asyncio.timeout(5):
        while not len(stand.picker.visits.holding):
            await asyncio.sleep(0.001)
        asked.call.cancel()
        while len(stand.picker.visits.holding):
            await asyncio.sleep(0.001)


async def test_a_request_keeps_its_version(stand_of, word_digest):
    stand = await stand_of(max_hold_s=5.0, hold_tick_s=0.005)
    await stand.host.swap("hold", 1)
    asking = asyncio.create_task(stand.ask())
    async with asyncio.timeout(5):
        while not len(stand.picker.visits.holding):
            await asyncio.sleep(0.001)
    await stand.host.swap("last", 2)
    held = stand.host.live
    assert held.sequence == 2
    stand.picker.visits.holding._max_hold_s = 0.0
    await asking
    (record,) = await recorded(stand, 1)
    assert (record.sequence, record.digest) == (1, BUILT_IN_DIGEST)


async def test_what_ends_on_this_side_ends_well(stand_of):
    """The proxy then goes on without the picker, in mid-answer too."""
    stand = await stand_of()
    asked = stand.stream()
    await asked.head()
    await asked.answer()
    await asked.body(RAW)
    await asked.answer()
    await asked.answers()
    await stand.picker._close()
    assert (await asked.call.code()).name == "OK"


async def test_law_11_no_request_text_stays(stand_of, caplog):
    caplog.set_level("DEBUG")
    stand = await stand_of()
    await stand.host.swap("first", 1)
    body = {"model": CANARY, "messages": [{"role": CANARY, "content": CANARY}], "user": CANARY}
    for raw in (json.dumps(body).encode(), f"{CANARY} {{".encode(), f'"{CANARY}"'.encode()):
        asked = stand.stream()
        await asked.head(
            path=f"/v1/chat/completions?{CANARY}={CANARY}", x_session_id=CANARY, x_tenant_id=CANARY
        )
        await asked.answer()
        await asked.body(raw)
        response = await asked.answer()
        assert CANARY not in str(response)
        await asked.call.done_writing()
    records = await recorded(stand, 1)
    assert stand.host.recent
    kept = [repr(records), stand.picker.visits.page(stand.picker.engines), caplog.text]
    assert not [text for text in kept if CANARY in text]
    assert not [given for given in stand.host.recent if CANARY.encode() in given.request]


async def test_a_body_that_never_ends_is_refused_in_time(stand_of):
    stand = await stand_of(body_timeout_s=0.05)
    asked = stand.stream("FULL_DUPLEX_STREAMED")
    await asked.head()
    await asked.body(b"", b"", ended=False)
    status, _, error = refusal(await asked.answer())
    assert (status, error["message"][:8]) == (408, "The body")
    assert stand.picker.visits.active == 0


async def test_it_tells_a_policy_what_its_signal_profile_says(stand_of):
    """After two answers of a session and a scrape, while a third streams."""
    stand = await stand_of("http://127.0.0.1:9")
    await stand.host.swap("first", 1)
    headers = {"x_session_id": "one", "x_tenant_id": "ada"}
    for ended in (True, True, False):
        asked = stand.stream("FULL_DUPLEX_STREAMED")
        await asked.head(**headers)
        await asked.body(json.dumps(BODY).encode())
        for _ in range(2):
            await asked.answer()
        await asked.answers(kind="text/event-stream")
        for piece, last in ((SSE, False), (SSE, False), (SSE + USAGE, ended)):
            await asked.send(response_body={"body": piece, "end_of_stream": last})
            await asked.answer()
        if ended:
            await asked.call.done_writing()
    table, now_s = stand.host.table, stand.host.now_s()
    for _ in range(2):
        table.scraped(0, parse_signals(PAGE), now_s)
    last = stand.stream("FULL_DUPLEX_STREAMED")
    await last.head(**headers)
    await last.body(json.dumps(BODY).encode())
    await last.answer()
    assert wrongly_told(signal_profile("endpoint-picker"), rows_of(stand.host)) == []
