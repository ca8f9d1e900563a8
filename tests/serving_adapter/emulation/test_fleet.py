"""Emulated engines as processes, and the bounded load replay against them."""

import asyncio
import math
import signal

import aiohttp
import pytest

from serving_adapter.emulation.faults import Fault, FaultKind
from serving_adapter.emulation.fleet import EngineSpec, Fleet, start_engine
from serving_adapter.emulation.load import MAX_REQUESTS, LoadRequest, is_loopback, replay
from serving_adapter.errors import FleetError, LoadRefused


async def test_a_fleet_serves_a_replay_and_stops_an_engine_with_its_parents_pipe_too():
    requests = [LoadRequest(0.2 * index, 200, 10) for index in range(8)]
    async with Fleet.of(2, EngineSpec(time_scale=20.0)) as fleet:
        model = fleet.engines[0].model
        served = await replay(requests, fleet.urls[0], model=model, time_scale=20.0)
        processes = [engine.process for engine in fleet.engines]
        processes[1].stdin.close()
        async with asyncio.timeout(10):
            assert await processes[1].wait() == 0
    assert all(one.ok and one.ttft_s < one.e2e_s for one in served)
    assert [process.returncode for process in processes] == [0, 0]


async def test_engines_crash_run_out_of_memory_come_and_go():
    spec = EngineSpec(time_scale=2.0, shutdown_timeout_s=5.0)
    body = {"prompt": [1] * 50, "max_tokens": 400, "stream": True}
    async with Fleet.of(2, spec) as fleet, aiohttp.ClientSession() as session:
        body["model"] = fleet.engines[0].model
        crashed, drained = fleet.engines
        answers = [await session.post(url + "/v1/completions", json=body) for url in fleet.urls]
        await fleet.fault(0, Fault(kind=FaultKind.CRASH))
        with pytest.raises(aiohttp.ClientError):
            await answers[0].read()
        leaving = asyncio.create_task(fleet.remove(1))
        while (await session.post(drained.url + "/v1/completions", json=body)).status != 500:
            await asyncio.sleep(0.01)
        assert (await session.get(drained.url + "/health")).status == 200
        assert (await answers[1].read()).endswith(b"[DONE]\n\n")
        await leaving
        starved = await fleet.add(EngineSpec(faults=(Fault(kind=FaultKind.OOM, after_s=0.1),)))
        async with asyncio.timeout(10):
            ends = [await engine.process.wait() for engine in (crashed, drained, starved)]
        with pytest.raises(FleetError, match="gone"):
            await fleet.fault(0, Fault(kind=FaultKind.HUNG))
    assert ends == [-signal.SIGKILL, 0, 1]


async def test_an_engine_that_does_not_start_says_how_to_look():
    with pytest.raises(FleetError, match="says why"):
        await start_engine(EngineSpec(model="no-such-model"))


def test_facts_follow_the_profile_and_the_clock():
    slow, fast = EngineSpec(time_scale=1.0).facts(), EngineSpec(time_scale=10.0).facts()
    assert math.isclose(slow.step_base_s, 10 * fast.step_base_s)
    assert fast.prefill_tokens_per_s > 10_000
    assert slow.step_base_s > slow.step_per_seq_s >= 0


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:1", True),
        ("http://[::1]:1", True),
        ("http://localhost", True),
        ("http://10.0.0.1", False),
        ("http://127.0.0.1.example.org", False),
        ("http://example.org", False),
    ],
)
def test_only_this_machine_is_loaded(url, loopback):
    assert is_loopback(url) is loopback


@pytest.mark.parametrize(
    ("url", "count", "arrival_s", "word"),
    [
        ("http://10.0.0.1", 1, 0.0, "this machine"),
        ("http://127.0.0.1:1", MAX_REQUESTS + 1, 0.0, "too many"),
        ("http://127.0.0.1:1", 1, 1e6, "raise time_scale"),
    ],
)
async def test_an_unbounded_replay_is_refused(url, count, arrival_s, word):
    with pytest.raises(LoadRefused, match=word):
        await replay([LoadRequest(arrival_s, 1, 1)] * count, url, model="m")
