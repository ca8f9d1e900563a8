"""Faults on demand, over real HTTP: what a client, a scraper and a health check see of each."""

import asyncio
import math

import aiohttp
import pytest

from serving_adapter.emulation.faults import Fault, FaultKind, read_fault
from serving_adapter.errors import FleetError
from telemetry.engine_signals import parse_signals

BODY = {"model": "tiny", "prompt": [1] * 10, "max_tokens": 40}
STREAM = {**BODY, "stream": True}
SOON = aiohttp.ClientTimeout(total=0.3)


@pytest.fixture
def new_engine(serve, client, new_emulator):
    """Serves an emulated engine; gives it, its URL and a way to ask it."""

    async def build(**options):
        emulator = new_emulator(**options)
        url = await serve(emulator.application())
        return emulator, url, lambda **more: client.post(url + "/v1/completions", **more)

    return build


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("hung", Fault(kind=FaultKind.HUNG)),
        ("slow:4@10+5", Fault(kind=FaultKind.SLOW, value=4.0, after_s=10.0, for_s=5.0)),
        ("drop:0.5+2", Fault(kind=FaultKind.DROP, value=0.5, for_s=2.0)),
    ],
)
def test_a_word_says_a_fault(text, fault):
    assert read_fault(text) == fault == read_fault(str(fault))


@pytest.mark.parametrize("text", ["", "late", "slow:", "slow:0", "error:2", "slow:4@", "hung+0"])
def test_what_is_no_fault_is_refused(text):
    with pytest.raises(FleetError):
        read_fault(text)


async def test_the_admin_page_adds_shows_and_clears(new_engine, client):
    _, url, ask = await new_engine()
    page = url + "/emulator/faults"
    wrong = [{"kind": "slow", "value": "4"}, {"kind": "x"}, {"kind": "slow", "more": 1}]
    assert [(await client.post(page, json=body)).status for body in wrong] == [400] * 3
    assert (await client.post(page, data=b'{"kind": "hung"}')).status == 415
    async with client.post(page, json={"kind": "error", "value": 1}) as answer:
        assert (await answer.json())["faults"] == ["error:1@0"]
    assert (await ask(json=BODY)).status == 500
    await client.delete(page)
    assert (await ask(json=BODY)).status == 200


async def test_a_hung_engine_takes_connections_and_answers_nothing(new_engine, client):
    emulator, url, ask = await new_engine()
    running = await ask(json={**STREAM, "max_tokens": 2000})
    emulator.faults.add(Fault(kind=FaultKind.HUNG))
    for path in ("/health", "/metrics"):
        with pytest.raises(TimeoutError):
            await client.get(url + path, timeout=SOON)
    before = emulator.metrics.generation_tokens.value("tiny", "0")
    await asyncio.sleep(0.05)
    assert emulator.metrics.generation_tokens.value("tiny", "0") == before
    emulator.faults.clear()
    assert (await running.read()).endswith(b"[DONE]\n\n")


async def test_a_stalled_engine_still_shows_its_pages(new_engine, client):
    emulator, url, ask = await new_engine()
    emulator.faults.add(Fault(kind=FaultKind.STALLED))
    with pytest.raises(TimeoutError):
        await ask(json=BODY, timeout=SOON)
    assert (await client.get(url + "/health")).status == 200


async def test_a_slow_engine_takes_longer_on_its_own_clock(new_engine):
    emulator, _, ask = await new_engine()
    await (await ask(json=BODY)).read()
    usual_s = emulator.metrics.e2e_s.sums["tiny", "0"]
    emulator.faults.add(Fault(kind=FaultKind.SLOW, value=20.0))
    await (await ask(json=BODY)).read()
    assert emulator.metrics.e2e_s.sums["tiny", "0"] > 8 * usual_s


@pytest.mark.parametrize("body", [BODY, STREAM])
async def test_dropped_answers_break_off(new_engine, body):
    emulator, _, ask = await new_engine()
    emulator.faults.add(Fault(kind=FaultKind.DROP))
    with pytest.raises(aiohttp.ClientError):
        await (await ask(json=body)).read()


async def test_a_crash_breaks_every_connection_and_takes_no_more(new_engine, client):
    emulator, url, ask = await new_engine()
    running = await ask(json={**STREAM, "max_tokens": 2000})
    emulator.faults.add(Fault(kind=FaultKind.CRASH))
    with pytest.raises(aiohttp.ClientError):
        await running.read()
    with pytest.raises(aiohttp.ClientError):
        await client.get(url + "/health")


async def test_an_engine_out_of_memory_fails_what_it_runs_then_goes(new_engine, client):
    emulator, url, ask = await new_engine()
    streamed = await ask(json={**STREAM, "max_tokens": 2000})
    whole = asyncio.create_task(_status(ask(json={**BODY, "max_tokens": 2000})))
    while len(emulator.driver.model.running) < 2:
        await asyncio.sleep(0.001)
    emulator.faults.add(Fault(kind=FaultKind.OOM))
    assert b'"error"' in await streamed.read()
    assert await whole == 500
    while not emulator.gone:
        await asyncio.sleep(0.001)
    with pytest.raises(aiohttp.ClientError):
        await client.get(url + "/health")


async def _status(asking):
    return (await asking).status


async def test_exhausted_kv_keeps_requests_waiting(new_engine, client):
    emulator, url, ask = await new_engine()
    emulator.faults.add(Fault(kind=FaultKind.KV))
    waiting = asyncio.create_task(_status(ask(json=BODY)))
    while not emulator.driver.model.waiting:
        await asyncio.sleep(0.001)
    signals = parse_signals(await (await client.get(url + "/metrics")).text())
    assert (signals.kv_usage, signals.waiting) == (1.0, 1)
    emulator.faults.clear()
    assert await waiting == 200


async def test_a_flapping_engine_goes_and_comes(new_engine, client):
    emulator, url, _ = await new_engine()
    emulator.faults.add(Fault(kind=FaultKind.FLAP, value=0.1))
    seen = set()
    async with asyncio.timeout(10):
        while seen != {"away", "there"}:
            try:
                await client.get(url + "/health")
                seen.add("there")
            except aiohttp.ClientError:
                seen.add("away")
            await asyncio.sleep(0.01)


async def test_until_the_model_is_loaded_everything_says_503(new_engine, client):
    emulator, url, ask = await new_engine(start_s=3.0)
    assert {(await client.get(url + "/health")).status, (await ask(json=BODY)).status} == {503}
    async with asyncio.timeout(10):
        while (await client.get(url + "/health")).status != 200:
            await asyncio.sleep(0.02)
    assert emulator.driver.now_s() >= 3.0


async def test_the_former_names_of_metrics_are_understood_too(new_engine, client):
    _, url, _ = await new_engine(old_metric_names=True)
    page = await (await client.get(url + "/metrics")).text()
    assert "vllm:gpu_prefix_cache_hits_total" in page
    assert not math.isnan(parse_signals(page).kv_usage)
