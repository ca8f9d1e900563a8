"""Engines behind a gateway: what a scrape asks for, and what it makes of the answer."""

import asyncio
import gzip
import time

import aiohttp
import pytest
from aiohttp import web

from serving_adapter.gateway import engines as module
from serving_adapter.gateway.engines import FAILED_SCRAPES, read_signals

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


@pytest.mark.parametrize("excuse", ["it answers meanwhile", "this process stood still", ""])
async def test_a_late_page_closes_an_engine_only_if_nothing_else_explains_it(
    serve, stand, new_emulator, monkeypatch, excuse
):
    gate = await stand(await serve(new_emulator().application()), scrape_s=60.0)

    async def late(*_):
        if excuse == "it answers meanwhile":
            async with gate.ask() as answer:
                assert answer.status == 200
        if excuse == "this process stood still":
            time.sleep(0.05)
        raise TimeoutError

    monkeypatch.setattr(module, "read_signals", late)
    if excuse == "this process stood still":
        monkeypatch.setattr(module, "SCRAPE_TIMEOUT_S", 0.01)
    for _ in range(FAILED_SCRAPES):
        await gate.gateway.engines.scrape(0)
    assert gate.host.table.is_open(0) == bool(excuse)


async def test_a_silent_engine_without_another_is_not_held_against_it_later(
    serve, stand, new_emulator, monkeypatch
):
    """Nothing was closed, so two late pages with a good one between them close nothing either."""
    gate = await stand(await serve(new_emulator().application()), scrape_s=60.0, silence_s=0.01)
    for _ in range(20):
        async with gate.ask() as answer:
            await answer.read()
    engines, good = gate.gateway.engines, module.read_signals

    async def late(*_):
        raise TimeoutError

    async with asyncio.timeout(None) as patience:
        with engines.waiting(0, patience):
            monkeypatch.setattr(engines._engines[0].silence, "_waits_s", [1e-4] * 20)
            await engines.scrape(0)  # its counters stand still from here on
            await asyncio.sleep(0.05)
            for read in (good, late, good, late):
                monkeypatch.setattr(module, "read_signals", read)
                await engines.scrape(0)
    assert gate.host.table.is_open(0)
