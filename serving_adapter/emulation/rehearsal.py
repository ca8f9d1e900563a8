"""Two policies on one load, swapped in mid-stream: emulated engines, real HTTP, measured latency.

The same requests are sent twice, first under one policy, then under the other. The second policy is
made ready after the first half, and while that lasts requests keep coming, so that the swap falls
into traffic and every request of the second half is decided by the second policy. What each half
saw is compared; nothing may be lost. Latencies are in engine seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from aiohttp import web

from serving_adapter.activation import Prepare, prepare_policy
from serving_adapter.emulation.fleet import EngineSpec, Fleet
from serving_adapter.emulation.load import LoadRequest, Served, replay
from serving_adapter.exposition import Registry
from serving_adapter.gateway.engines import EngineSet
from serving_adapter.gateway.gateway import Gateway, GatewaySettings
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceTable
from serving_adapter.safety.limits import UNWATCHED_ARM
from serving_adapter.web_server import LOOPBACK, bound_port, new_runner

SCRAPE_ENGINE_S = 1.0
STALL_PROBE_S = 0.002
SHORTEST_GAP_S = 0.01  # real time between requests while the swap is made ready


@dataclass(frozen=True, slots=True)
class Half:
    """What the requests under one policy saw, in engine seconds.

    `policy` is the digest in force, `requests` how many were sent, `failed` how many of them were
    not answered in full.
    """

    policy: str
    requests: int
    failed: int
    ttft_mean_s: float
    ttft_p95_s: float
    e2e_mean_s: float
    e2e_p95_s: float


@dataclass(frozen=True, slots=True)
class RehearsalReport:
    """Both halves and the swap between them.

    Attributes:
        prepare_s: real seconds to verify, compile and smoke-test, while the other policy served.
        longest_stall_s: longest real time for which the event loop did not turn during that.
        served: every request: the first half, those sent while the swap was made ready, the
            second half.
    """

    before: Half
    after: Half
    prepare_s: float
    longest_stall_s: float
    served: tuple[Served, ...]

    @property
    def failed(self) -> int:
        """Requests that were not answered in full, whenever they were sent."""
        return sum(not one.ok for one in self.served)


async def rehearse(
    requests: Sequence[LoadRequest],
    before: str,
    after: str,
    *,
    specs: Sequence[EngineSpec],
    prepare: Prepare = prepare_policy,
    on_swap: Callable[[], None] = lambda: None,
) -> RehearsalReport:
    """Serve `requests` under policy source `before`, swap, serve them again under `after`.

    Args:
        requests: one half of the load; arrivals from 0 on.
        before: source of the policy that runs first.
        after: source of the policy that is swapped in.
        specs: the engines, all with one `time_scale` and one model.
        prepare: how a source becomes a ready policy.
        on_swap: called when the second policy is live.

    Raises:
        FleetError: an engine did not start.
        PolicyUnusable: a policy does not load.
        LoadRefused: the load is too large or too long.
    """
    time_scale = specs[0].time_scale
    registry = Registry()
    host = PolicyHost(InstanceTable(), registry=registry, prepare=prepare, limits=UNWATCHED_ARM)
    await host.swap(before, 1)
    async with Fleet(specs) as fleet:
        settings = GatewaySettings(scrape_s=SCRAPE_ENGINE_S / time_scale)
        gateway = Gateway(host, fleet.facts(), registry, settings=settings)
        runner = new_runner(gateway.application())
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, 0).start()
            await scraped(gateway.engines)
            url = f"http://{LOOPBACK}:{bound_port(runner)}"
            swap = partial(_swap, host, after, on_swap)
            return await _both_halves(requests, url, fleet.engines[0].model, time_scale, swap)
        finally:
            await runner.cleanup()


async def scraped(engines: EngineSet) -> None:
    """Ask every engine for its signals once, so that the first decision sees them."""
    await asyncio.gather(*(engines.scrape(number) for number in engines.ids()))


async def _both_halves(
    requests: Sequence[LoadRequest],
    url: str,
    model: str,
    time_scale: float,
    swap: Callable[[], Coroutine[None, None, tuple[float, float]]],
) -> RehearsalReport:
    span_s = max((request.arrival_s for request in requests), default=0.0)
    send = partial(replay, url=url, model=model, time_scale=time_scale, max_wall_s=300.0)
    first = asyncio.create_task(send(requests))
    await asyncio.sleep(span_s / time_scale)
    swapping = asyncio.create_task(swap())
    between = await _until_done(swapping, requests, span_s / time_scale, send)
    prepare_s, stall_s = await swapping
    second = await send(requests)
    before = await first
    return RehearsalReport(
        before=half_of(before),
        after=half_of(second),
        prepare_s=prepare_s,
        longest_stall_s=stall_s,
        served=(*before, *await asyncio.gather(*between), *second),
    )


async def _until_done(
    swapping: asyncio.Task[tuple[float, float]],
    requests: Sequence[LoadRequest],
    span_s: float,
    send: Callable[[Sequence[LoadRequest]], Coroutine[None, None, list[Served]]],
) -> list[asyncio.Task[Served]]:
    """Send the requests over again at their mean pace for as long as the swap takes."""

    async def one(request: LoadRequest) -> Served:
        return (await send([replace(request, arrival_s=0.0)]))[0]

    sent = list[asyncio.Task[Served]]()
    for request in itertools.cycle(requests):
        sent.append(asyncio.create_task(one(request)))
        await asyncio.wait([swapping], timeout=max(span_s / len(requests), SHORTEST_GAP_S))
        if swapping.done():
            break
    return sent


async def _swap(host: PolicyHost, source: str, on_swap: Callable[[], None]) -> tuple[float, float]:
    """Swap, and say how long that took and how long the loop stood still."""
    probing = asyncio.create_task(_longest_stall())
    started_s = time.perf_counter()
    await host.swap(source, host.live.sequence + 1)
    prepare_s = time.perf_counter() - started_s
    probing.cancel()
    on_swap()
    return prepare_s, await probing


async def _longest_stall() -> float:
    """Longest lateness of a short sleep, until cancelled."""
    longest_s = 0.0
    try:
        while True:
            started_s = time.perf_counter()
            await asyncio.sleep(STALL_PROBE_S)
            longest_s = max(longest_s, time.perf_counter() - started_s - STALL_PROBE_S)
    except asyncio.CancelledError:
        return longest_s


def half_of(served: Sequence[Served]) -> Half:
    """Summary of what some requests saw; NaN where none was answered."""
    answered = [one for one in served if one.ok]
    policies = [one.policy for one in answered]
    ttft_s, e2e_s = [one.ttft_s for one in answered], [one.e2e_s for one in answered]
    return Half(
        policy=max(set(policies), key=policies.count, default=""),
        requests=len(served),
        failed=len(served) - len(answered),
        ttft_mean_s=_mean(ttft_s),
        ttft_p95_s=_p95(ttft_s),
        e2e_mean_s=_mean(e2e_s),
        e2e_p95_s=_p95(e2e_s),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _p95(values: Sequence[float]) -> float:
    return float(np.percentile(values, 95)) if values else math.nan
