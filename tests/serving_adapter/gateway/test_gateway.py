"""The gateway over real HTTP: untouched bytes, retries before the first only, honest errors."""

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from serving_adapter.outstanding import outstanding
from serving_adapter.request_log import RequestOutcome

STREAM = (
    b'data: {"id":"1","choices":[{"text":"\xc3\xa9"}],"odd":  1}\n\n'
    b": keep-alive\r\n\r\n"
    b'data: {"choices":[{"text":"b"}]}\n\ndata: [DONE]\n\n'
)


def engine(answer) -> web.Application:
    """An engine whose every POST is answered by `answer(request)`."""
    app = web.Application()
    app.router.add_post("/v1/{rest:.*}", answer)
    return app


async def stream_bytes(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Engine": "7"})
    await response.prepare(request)
    for start in range(0, len(STREAM), 11):
        await response.write(STREAM[start : start + 11])
        await asyncio.sleep(0)
    return response


async def echo(request: web.Request) -> web.Response:
    seen = {
        "path": request.path,
        "query": request.rel_url.raw_query_string,
        "body": (await request.text()),
    }
    return web.json_response({**seen, "mark": request.headers.get("X-Mark")})


async def fail(_: web.Request) -> web.Response:
    return web.json_response({"error": {"message": "broken"}}, status=500)


async def die_before_the_first_byte(request: web.Request) -> web.Response:
    request.transport.abort()
    return web.Response()


async def die_after_the_first_byte(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b'data: {"choices":[{"text":"a"}]}\n\n')
    await asyncio.sleep(0.02)
    request.transport.abort()
    return response


async def test_a_stream_passes_with_its_bytes_untouched(serve, stand):
    gate = await stand(await serve(engine(stream_bytes)))
    async with gate.ask(stream=True) as answer:
        assert await answer.read() == STREAM
    assert (answer.status, answer.headers["X-Engine"]) == (200, "7")
    (record,) = await gate.recorded(1)
    assert (record.outcome, record.output_tokens, record.usage) == (RequestOutcome.OK, 2, False)
    assert 0 <= record.ttft_s <= record.e2e_s


@pytest.mark.parametrize("path", ["chat/completions", "completions", "embeddings"])
async def test_the_body_passes_with_fields_that_nobody_knows(serve, stand, path):
    gate = await stand(await serve(engine(echo)))
    raw = b'{ "model": "m", "input": "x", "prompt":"x",\n "vllm_xargs": {"k": [1, 2.50]}}'
    url = URL(f"{gate.url}/v1/{path}?a=b%2Fc", encoded=True)
    async with gate.client.post(url, data=raw, headers={"X-Mark": "m"}) as answer:
        seen = await answer.json()
    assert seen["body"] == raw.decode()
    assert (seen["path"], seen["query"], seen["mark"]) == (f"/v1/{path}", "a=b%2Fc", "m")


async def test_models_pass_through(serve, stand, new_emulator):
    gate = await stand(await serve(new_emulator().application()))
    async with gate.client.get(gate.url + "/v1/models") as answer:
        assert (await answer.json())["data"][0]["id"] == "tiny"


@pytest.mark.parametrize("raw", [b"no json", b"[]", b'{"max_tokens": "many"}'])
async def test_a_bad_body_is_refused_as_an_openai_error(serve, stand, raw):
    gate = await stand(await serve(engine(echo)))
    async with gate.client.post(gate.url + "/v1/completions", data=raw) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == "BadRequestError"


async def test_a_body_that_is_not_what_its_encoding_says_is_the_clients_fault(serve, stand):
    gate = await stand(await serve(engine(echo)))
    zipped = {"Content-Encoding": "gzip"}
    async with gate.client.post(
        gate.url + "/v1/completions", data=b"not zipped", headers=zipped
    ) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == "BadRequestError"


async def test_an_unknown_path_is_an_openai_error(stand):
    gate = await stand()
    async with gate.client.get(gate.url + "/v1/other") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (404, 404)


@pytest.mark.parametrize("broken", [fail, die_before_the_first_byte])
async def test_a_failure_before_the_first_byte_is_retried_elsewhere(serve, stand, broken):
    gate = await stand(await serve(engine(broken)), await serve(engine(stream_bytes)))
    await gate.host.swap("first", 1)
    async with gate.ask(stream=True) as answer:
        assert await answer.read() == STREAM
    (record,) = await gate.recorded(1)
    assert (record.outcome, record.attempts, record.instance_id) == (RequestOutcome.OK, 2, 1)


async def test_an_engine_that_is_gone_is_closed_and_the_request_served(serve, stand):
    gate = await stand("http://127.0.0.1:9", await serve(engine(stream_bytes)), scrape_s=60.0)
    await gate.host.swap("first", 1)
    async with gate.ask(stream=True) as answer:
        assert answer.status == 200
    assert not gate.host.table.is_open(0)


async def test_nothing_is_retried_after_the_first_byte(serve, stand):
    engines = [await serve(engine(die_after_the_first_byte)), await serve(engine(stream_bytes))]
    gate = await stand(*engines)
    await gate.host.swap("first", 1)
    async with gate.ask(stream=True) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    (record,) = await gate.recorded(1)
    assert (record.outcome, record.attempts) == (RequestOutcome.BROKEN, 1)


async def test_the_last_engines_own_error_reaches_the_client(serve, stand):
    gate = await stand(await serve(engine(fail)))
    async with gate.ask() as answer:
        assert (answer.status, await answer.json()) == (500, {"error": {"message": "broken"}})
    (record,) = await gate.recorded(1)
    assert record.outcome is RequestOutcome.ENGINE_ERROR


async def test_without_engines_the_client_is_told_when_to_come_back(stand):
    gate = await stand()
    async with gate.ask() as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    (record,) = await gate.recorded(1)
    assert record.outcome is RequestOutcome.NO_ENGINE


async def test_a_rejected_request_is_answered_429(serve, stand):
    gate = await stand(await serve(engine(echo)))
    await gate.host.swap("reject", 1)
    async with gate.ask() as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert (await answer.json())["error"]["type"] == "rate_limit_error"


async def test_a_held_request_is_served_when_the_hold_ends(serve, stand):
    gate = await stand(await serve(engine(echo)), max_hold_s=0.02, hold_tick_s=0.005)
    await gate.host.swap("hold", 1)
    async with gate.ask() as answer:
        assert (answer.status, answer.headers["X-Evolver-Sequence"]) == (200, "1")


async def test_drain_refuses_the_new_and_finishes_the_old(serve, stand):
    release = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await release.wait()
        return web.json_response({})

    gate = await stand(await serve(engine(slow)))
    old = asyncio.create_task(gate.client.post(gate.url + "/v1/completions", json={"prompt": "x"}))
    while not outstanding(gate.host.table.row(0)):
        await asyncio.sleep(0.001)
    draining = asyncio.create_task(gate.gateway.drain())
    await asyncio.sleep(0)
    async with gate.ask() as refused, gate.client.get(gate.url + "/readyz") as ready:
        assert (refused.status, ready.status) == (503, 503)
    release.set()
    assert (await old).status == 200
    await asyncio.wait_for(draining, 5)


async def test_ready_says_what_runs_and_healthy_is_something_else(serve, stand, word_digest):
    gate = await stand(await serve(engine(echo)))
    await gate.host.swap("first", 3)
    async with gate.client.get(gate.url + "/readyz") as ready:
        state = await ready.json()
    assert (state["ready"], state["sequence"], state["policy"]) == (True, 3, word_digest("first"))
    gate.host.table.set_open(0, False)
    async with gate.client.get(gate.url + "/healthz") as alive:
        assert alive.status == 200


async def test_metrics_count_requests_decisions_and_the_policy(serve, stand, new_emulator):
    gate = await stand(await serve(new_emulator().application()))
    await gate.host.swap("first", 1)
    async with gate.ask(max_tokens=6) as answer:
        json.loads(await answer.read())
    await gate.recorded(1)
    page = await (await gate.client.get(gate.url + "/metrics")).text()
    assert 'evolver_requests_total{endpoint="completions",outcome="ok"} 1.0' in page
    assert 'evolver_decisions_total{author="active",outcome="routed"} 1.0' in page
    assert 'evolver_tokens_total{kind="output"} 6.0' in page
    assert f'evolver_policy_info{{digest="{gate.host.live.digest}"}} 1.0' in page


async def test_scrapes_fill_the_rows_the_policy_sees(serve, stand, new_emulator):
    gate = await stand(await serve(new_emulator(kv_blocks=100).application()), scrape_s=0.01)
    async with asyncio.timeout(5):
        while gate.host.table.row(0)["kv_capacity_tokens"] < 0:
            await asyncio.sleep(0.005)
    assert gate.host.table.row(0)["kv_capacity_tokens"] == 1600


async def test_a_client_that_leaves_is_recorded_and_its_engine_told(serve, stand, new_emulator):
    emulator = new_emulator(time_scale=1.0)
    gate = await stand(await serve(emulator.application()))
    answer = await gate.ask(stream=True, max_tokens=20_000)
    await answer.content.readany()
    answer.close()
    (record,) = await gate.recorded(1)
    async with asyncio.timeout(5):
        while not emulator.driver.model.idle:
            await asyncio.sleep(0.005)
    assert record.outcome is RequestOutcome.ABANDONED
    assert outstanding(gate.host.table.row(0)) == 0


async def test_what_any_connection_header_names_stays_on_its_connection(serve, stand):
    gate = await stand(await serve(engine(echo)))
    headers = CIMultiDict(
        [("Connection", "X-Other"), ("Connection", "Keep-Alive, X-Mark"), ("X-Mark", "m")]
    )
    url = gate.url + "/v1/completions"
    async with gate.client.post(url, data=b'{"prompt":"a"}', headers=headers) as answer:
        assert (await answer.json())["mark"] is None


@pytest.mark.parametrize(
    "path", ["../../admin", "..%2f..%2fadmin", "%2e%2e/%2e%2e/admin", "./a", "..%5cadmin"]
)
async def test_a_models_name_leads_nowhere_else(serve, stand, path):
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.raw_path)
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/v1/{rest:.*}", answer)
    gate = await stand(await serve(app))
    async with gate.client.get(URL(f"{gate.url}/v1/models/{path}", encoded=True)) as refused:
        assert (refused.status, "admin" in await refused.text()) == (404, False)
    async with gate.client.get(f"{gate.url}/v1/models/org/name..v1.2") as found:
        assert found.status == 200
    assert asked == ["/v1/models/org/name..v1.2"]


@pytest.mark.parametrize("status", ["101 Switching Protocols", "099 Odd", "999 Odd"])
async def test_an_answer_that_is_no_final_one_goes_elsewhere(serve, stand, status):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    gate = await stand(f"http://127.0.0.1:{port}", await serve(engine(echo)))
    await gate.host.swap("first", 1)
    async with server, gate.ask() as answered:
        assert answered.status == 200
        assert "X-Evolver-Decision" in answered.headers
