"""Engines behind a gateway: what a scrape asks for, and what it makes of the answer."""

import asyncio
import gzip

import aiohttp
from aiohttp import web

from serving_adapter.gateway.engines import read_signals

PAGE = b'vllm:num_requests_running{engine="0"} 3\n'


async def compressing(request):
    """What a Prometheus exporter does with a client that takes compressed pages."""
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        return web.Response(body=gzip.compress(PAGE), headers={"Content-Encoding": "gzip"})
    return web.Response(body=PAGE)


async def test_signals_are_read_of_an_engine_that_compresses_its_metrics(serve):
    app = web.Application()
    app.router.add_get("/metrics", compressing)
    url = await serve(app)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        signals = await read_signals(session, url)
    assert signals.running == 3


async def test_an_engine_cannot_send_the_scraper_elsewhere(serve, stand):
    asked = []

    async def secret(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text="x 1\n")

    away = web.Application()
    away.router.add_get("/{rest:.*}", secret)
    elsewhere = await serve(away)
    scraped = asyncio.Event()

    async def metrics(_: web.Request) -> web.Response:
        scraped.set()
        raise web.HTTPFound(elsewhere + "/secret")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    gate = await stand(await serve(app), scrape_s=0.01)
    async with asyncio.timeout(5):
        await scraped.wait()
        await gate.gateway.engines.scrape(0)
    assert asked == []
