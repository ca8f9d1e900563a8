"""Scraping many engines: emulated ones, a hanging one, a flooding one, one that is not there."""

from __future__ import annotations

import asyncio
import contextlib
import time

import aiohttp
import pytest
from aiohttp import web

from evolver.daemon.sources_engines import EngineScraper
from evolver.daemon.sources_fleet import EngineSource
from sandbox.calibrate import from_histograms
from sandbox.cluster import EngineSpec
from sandbox.profiles import load_profile
from serving_adapter.emulation.emulator import Emulator
from serving_adapter.emulation.profiled import settings_from_profile
from serving_adapter.web_server import LOOPBACK, bound_port, new_runner
from telemetry.cluster_events import Change, Node
from telemetry.cluster_state import LiveCluster
from telemetry.metrics_page import MOST_PAGE_BYTES
from telemetry.scrape import ScrapeBook, read_scrape


@contextlib.asynccontextmanager
async def served(app):
    runner = new_runner(app, shutdown_timeout_s=0.1)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    try:
        yield f"http://{LOOPBACK}:{bound_port(runner)}"
    finally:
        await runner.cleanup()


def page_of(handler):
    app = web.Application()
    app.router.add_get("/metrics", handler)
    return app


async def flood(request):
    answer = web.StreamResponse()
    await answer.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await answer.write(b"vllm:num_requests_running 1\n" * 10_000)
    return answer


async def hang(request):
    await asyncio.sleep(60)
    return web.Response()


async def test_a_fleet_is_scraped_whatever_some_engines_do():
    emulator = Emulator(settings_from_profile("H100", "llama-3.1-8b", 1, 50.0))
    book = ScrapeBook()
    nowhere = "http://127.0.0.1:9"
    async with served(emulator.application()) as engine, served(page_of(flood)) as flooding:
        async with served(page_of(hang)) as hanging:
            urls = [engine + "/", flooding, hanging, nowhere]
            scraper = EngineScraper(lambda: urls, book, timeout_s=1.0)
            assert await scraper.ask() >= 1
        assert (book.failures(hanging), book.failures(nowhere)) == (1, 1)
        assert book.latest(engine, 1e10).running == -1
        found = book.fleet(time.time())
        assert found.kv_capacity_tokens > 100_000
        urls[:] = [engine]
        assert await scraper.ask() == 1
        assert book.names() == (engine,)


async def test_an_engine_that_ends_has_failed():
    emulators = [Emulator(settings_from_profile("H100", "llama-3.1-8b", 1, 50.0)) for _ in "ab"]
    live = LiveCluster()
    async with served(emulators[0].application()) as stays:
        async with served(emulators[1].application()) as ends:
            source = EngineSource([stays, ends], Node("like", 2, "H100"), timeout_s=5.0)
            came = await asyncio.to_thread(source.poll, live)
            assert [event.change for event in came] == [Change.PRESENT] * 2
        assert await asyncio.to_thread(source.poll, live) == ()
        (failed,) = await asyncio.to_thread(source.poll, live)
    assert (failed.change, failed.node.name) == (Change.FAILED, ends.removeprefix("http://"))
    assert live.pools(time.time())[0].present == 2


async def test_the_histograms_of_a_serving_engine_are_fitted_to():
    """Whatever time this machine gives the engine, its own page is what the fit has to meet."""
    emulator = Emulator(settings_from_profile("H100", "llama-3.1-8b", 1, 20.0))
    book = ScrapeBook()
    async with served(emulator.application()) as engine, aiohttp.ClientSession() as session:
        scraper = EngineScraper(lambda: [engine], book)

        async def ask(number):
            body = {"model": emulator.settings.model, "prompt": [1] * (100 + number),
                    "max_tokens": 10 + number % 7}  # fmt: skip
            async with session.post(engine + "/v1/completions", json=body) as answer:
                assert answer.status == 200
                await answer.read()

        await ask(0)  # histograms have no series before
        assert await scraper.ask() == 1
        began = time.time()
        for first in range(0, 120, 20):
            await asyncio.gather(*(ask(first + number) for number in range(20)))
        assert await scraper.ask() == 1
        covered = book.histograms(0.0, time.time() + 1)
    found, covered_s = covered
    assert found.requests == 120
    assert found.output_tokens.mean == pytest.approx(10 + sum(k % 7 for k in range(120)) / 120)
    assert covered_s >= time.time() - began - 60
    assert book.grown(engine, 0.0, time.time() + 1)["finished"] == 120
    profile = load_profile("H100", "llama-3.1-8b", 1)
    fitted = from_histograms(profile, found, 20 * covered_s, EngineSpec())
    assert abs(fitted.after.tpot_mean) <= abs(fitted.before.tpot_mean) + 0.02
    assert fitted.source == "histograms"


def test_a_page_is_cut_where_it_is_too_long():
    page = b"x" * MOST_PAGE_BYTES + b"\nvllm:num_requests_running 1\n"
    assert read_scrape(0.0, page).signals.running == -1
