"""Clients that send or take too slowly, and what the gateway says about itself."""

import asyncio

from aiohttp import web
from yarl import URL

from serving_adapter.outstanding import outstanding
from serving_adapter.request_log import RequestOutcome


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    while True:
        await response.write(b"data: " + b"x" * 65_536 + b"\n\n")


async def busy(_: web.Request) -> web.Response:
    return web.json_response({"error": {"message": "full"}}, status=429)


def engine(answer) -> web.Application:
    app = web.Application()
    app.router.add_post("/v1/{rest:.*}", answer)
    return app


async def connect(url):
    address = URL(url)
    return await asyncio.open_connection(address.host, address.port)


async def test_a_body_that_does_not_come_in_time_is_refused(serve, stand):
    gate = await stand(await serve(engine(busy)), body_timeout_s=0.05)
    reader, writer = await connect(gate.url)
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
    head = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    assert head.startswith(b"HTTP/1.1 408")


async def test_a_client_that_takes_nothing_is_left_and_its_engine_free(serve, stand):
    gate = await stand(await serve(engine(endless)), stall_timeout_s=0.1)
    _, writer = await connect(gate.url)
    body = b'{"prompt": "x", "stream": true}'
    head = f"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    async with asyncio.timeout(20):
        (record,) = await gate.recorded(1)
    writer.close()
    assert record.outcome is RequestOutcome.ABANDONED
    assert outstanding(gate.host.table.row(0)) == 0


async def test_an_engine_that_says_later_without_saying_when(serve, stand):
    gate = await stand(await serve(engine(busy)))
    async with gate.ask() as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert await answer.json() == {"error": {"message": "full"}}


async def test_the_version_names_what_decides(serve, stand, word_digest):
    gate = await stand(await serve(engine(busy)))
    await gate.host.swap("first", 7)
    async with gate.client.get(gate.url + "/version") as answer:
        state = await answer.json()
    assert (state["sequence"], state["policy"]) == (7, word_digest("first"))
    assert state["version"]
