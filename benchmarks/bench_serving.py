"""Prints what each door costs beside other routers, and what a decision and a swap cost inside.

Run by `make bench-serving`. Two emulated engines answer at once, so what is left is the router.
Every target gets the same requests of eight tokens: one client after the other for what it adds to
latency, then sixteen clients for requests per second and per second of its own processor time.
Peers are installed apart (`serving_peers.py`); one that cannot be had is named. All loads are
bounded in count and time, and everything listens on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import aiohttp
import numpy as np
import numpy.typing as npt
import serving_peers as peers
from peer_environments import PeerUnavailable

import evolver.library
from policy_store.keys import TrustedKeys, new_signing_key
from policy_store.snapshot import Snapshot
from sandbox.verifier import verify
from serving_adapter.activation import prepare_policy
from serving_adapter.admission import Admission
from serving_adapter.emulation.decision_audit import DecisionLog, audit
from serving_adapter.emulation.fleet import EngineSpec, Fleet
from serving_adapter.emulation.load import LoadRequest, Served
from serving_adapter.emulation.swap_load import Publisher, send_all, swap_under_load, to_file
from serving_adapter.emulation.swap_policies import LEAST, one_in_three_faulty
from serving_adapter.facts import RequestFacts
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceFacts, InstanceTable
from serving_adapter.live import Live
from serving_adapter.preparing import load_modules
from serving_adapter.short_turns import beside_the_loop

BODY = {"model": "llama-3.1-8b", "prompt": "word " * 64, "max_tokens": 8}
CLIENTS = 16
MAX_WALL_S = 60.0
Values = Sequence[float] | npt.NDArray[np.float64]
LIBRARY = Path(evolver.library.__file__).parent
STARTS = {
    "gateway": peers.gateway,
    "LiteLLM": peers.litellm,
    "Envoy + picker": peers.envoy,
    "vllm-router": peers.vllm_router,
    "SMG": peers.smg,
}


@dataclass(frozen=True)
class Row:
    """What one target did; milliseconds, requests per second, MiB."""

    name: str
    p50_ms: float
    p99_ms: float
    rps: float
    rps_per_core: float
    mib: float
    failed: int


def main() -> None:
    """Doors and peers, then inside."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300, help="of each of the two loads")
    parser.add_argument("--swaps", type=int, default=40)
    parser.add_argument("--only", nargs="*", choices=(*STARTS, "inside"), default=None)
    options = parser.parse_args()
    wanted = options.only or (*STARTS, "inside")
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load average {load:.1f} at the start")
    if set(wanted) & set(STARTS):
        asyncio.run(doors([name for name in STARTS if name in wanted], options.requests))
    if "inside" in wanted:
        for engines in (16, 512):
            print(decisions(engines))
        asyncio.run(swaps(options.swaps))
        print(asyncio.run(long_policy()))


async def doors(names: Sequence[str], count: int) -> None:
    """Every target over the same two engines, the bare engines first."""
    print(f"\n{'through':<16}{'added p50 ms':>13}{'p99':>8}{'requests/s':>12}{'per core s':>12}"
          f"{'MiB':>7}{'failed':>8}")  # fmt: skip
    async with Fleet([EngineSpec(time_scale=1000.0)] * 2) as fleet:
        engines = [engine.url for engine in fleet.engines]
        bare = await measured(peers.Target("direct", engines[0]), count)
        show(bare, bare)
        for name in names:
            try:
                with peers.started(STARTS[name], engines) as target:
                    show(await measured(target, count), bare)
            except PeerUnavailable as reason:
                print(f"{name:<16}not measured: {reason}", flush=True)


def show(row: Row, bare: Row) -> None:
    """One line; latencies less those of the bare engine."""
    direct = row is bare
    p50, p99 = (0.0, 0.0) if direct else (row.p50_ms - bare.p50_ms, row.p99_ms - bare.p99_ms)
    core = "" if direct else f"{row.rps_per_core:.0f}"
    print(f"{row.name:<16}{p50:>13.2f}{p99:>8.2f}{row.rps:>12.0f}{core:>12}"
          f"{row.mib:>7.0f}{row.failed:>8}", flush=True)  # fmt: skip


async def measured(target: peers.Target, count: int) -> Row:
    """One client, then many."""
    async with aiohttp.ClientSession() as session:
        url = target.url + "/v1/completions"
        await many(session, url, 20, 4)
        alone_ms, lost = await many(session, url, count, 1)
        before_s, began_s = peers.cpu_s(target.pids), time.perf_counter()
        _, lost_too = await many(session, url, count, CLIENTS)
        wall_s = time.perf_counter() - began_s
        used_s = peers.cpu_s(target.pids) - before_s
    p50, p99 = np.percentile(alone_ms, [50, 99]) if alone_ms else (np.nan, np.nan)
    return Row(
        target.name, float(p50), float(p99), count / wall_s,
        count / used_s if used_s > 0 else np.nan, peers.rss_mib(target.pids), lost + lost_too,
    )  # fmt: skip


async def many(
    session: aiohttp.ClientSession, url: str, count: int, clients: int
) -> tuple[list[float], int]:
    """Requests of some clients, each one after the other: milliseconds, and how many failed."""
    taken_ms: list[float] = []
    left, lost = iter(range(count)), 0

    async def client() -> None:
        nonlocal lost
        for _ in left:
            began_s = time.perf_counter()
            try:
                async with session.post(url, json=BODY) as answer:
                    await answer.read()
                    good = answer.status == 200
            except (aiohttp.ClientError, TimeoutError):
                good = False
            lost += not good
            if good:
                taken_ms.append(1e3 * (time.perf_counter() - began_s))

    async with asyncio.timeout(MAX_WALL_S):
        await asyncio.gather(*(client() for _ in range(clients)))
    return taken_ms, lost


def decisions(engines: int, count: int = 5000, runs: int = 10) -> str:
    """A decision inside a door, compiled: all of it, and the policy's own call in it.

    Every run makes the same decisions. What the machine does meanwhile hits others in each, so the
    fastest time of one decision in all runs is what it takes by itself.
    """
    asked = [RequestFacts(arrived_s=0.0, prompt_tokens=500 + n % 99, tenant=n % 7, session=n)
             for n in range(1000)]  # fmt: skip
    gc.collect()
    gc.freeze()  # as `evolver serve` does
    hosts = [_host(engines) for _ in range(runs)]
    wall_us = np.array([_decided_us(host, asked, engines, count) for host in hosts])
    before_s = time.thread_time()  # asked for seldom, as it takes its time
    for facts in asked:
        hosts[-1].route(facts)
    busy_us = 1e6 * (time.thread_time() - before_s) / len(asked)
    calls_us = [1e6 * one.call_s for host in hosts for one in host.recent]
    return (
        f"\na decision, {engines} engines, compiled: whole {three(wall_us.ravel())}, {busy_us:.3g} "
        f"us of the processor each; the policy's own call p50 {pct(calls_us, 50)}, "
        f"p99 {pct(calls_us, 99)} us\n"
        f"  each decision's fastest of {runs} runs: {three(wall_us.min(0))}"
    )


def _host(engines: int) -> PolicyHost:
    table = InstanceTable()
    for _ in range(engines):
        table.add(InstanceFacts(kv_capacity_tokens=100_000, prefill_tokens_per_s=1e4,
                                step_base_s=0.006, step_per_seq_s=1e-5))  # fmt: skip
    host = PolicyHost(table, prepare=partial(prepare_policy, engine="compiled"))
    asyncio.run(host.swap(LEAST, 1))
    return host


def _decided_us(
    host: PolicyHost, asked: Sequence[RequestFacts], engines: int, count: int
) -> list[float]:
    """Microseconds of each decision, in between what a door does with it."""
    table, flights, wall_us, looked_s = host.table, [], [], -math.inf
    for number in range(count):
        if host.now_s() - looked_s > host.limits.poll_s:  # as in a host that is `running`
            looked_s = host.now_s()
            host.watchdog.take_sample()
            host.watchdog.look()
        facts = asked[number % len(asked)]
        began_ns = time.perf_counter_ns()
        decision = host.route(facts)
        wall_us.append(1e-3 * (time.perf_counter_ns() - began_ns))
        flights.append(table.dispatch(decision.instance_id, facts, host.now_s()))
        table.tokens(flights[-1], 1, host.now_s())
        if len(flights) > 4 * engines:
            table.finish(flights.pop(0))
    return wall_us


def three(values_us: Values) -> str:
    """The percentiles that are shown."""
    shown = ", ".join(f"p{rank} {pct(values_us, rank)}" for rank in (50, 90, 99))
    return f"{shown} us"


def pct(values: Values, rank: int) -> str:
    """A percentile in three digits."""
    return f"{np.percentile(values, rank):.3g}" if len(values) else "-"


async def swaps(count: int) -> None:
    """Swaps of compiled policies under decisions, through signed files that a host follows."""
    for turn in range(1, 2 * count):  # compiled once, as after the first host that had them
        await asyncio.to_thread(_prepare, one_in_three_faulty(turn))
    gc.collect()
    gc.freeze()  # as `evolver serve` does when it has loaded what swaps need
    with tempfile.TemporaryDirectory() as folder:
        key = new_signing_key(Path(folder) / "keys")
        log = DecisionLog("host")
        # Signed before the load: the control plane that verifies and signs is another process.
        publisher = Signed([*islice(_published(Publisher(key)), 2 * count)])
        host = PolicyHost(
            InstanceTable(), prepare=_prepare,
            admission=Admission(TrustedKeys((key.public,)), state=Path(folder)),
        )  # fmt: skip
        for _ in range(16):
            host.table.add()
        host.on_decision = log.add
        path = Path(folder) / "active.json"
        assigned_us, live_ms = _timed(host), []
        following = asyncio.create_task(host.follow(path))
        probing = asyncio.create_task(_stalls())
        publish = to_file(path, key)

        async def timed(snapshot: Snapshot) -> None:
            await publish(snapshot)
            began_s = time.perf_counter()
            while host.live.sequence < snapshot.sequence:
                await asyncio.sleep(0.001)
            live_ms.append(1e3 * (time.perf_counter() - began_s))

        load = [LoadRequest(0.005 * number, 64, 8) for number in range(20 * count)]
        report = await swap_under_load(send_all(load, partial(_decide, host)), publisher, timed)
        following.cancel()
        probing.cancel()
    verdict = audit(log.decisions, report.snapshots, report.served)
    for violation in verdict.violations:
        print(violation)
    print(
        f"\n{len(live_ms)} swaps of compiled policies, one in three faulty, under "
        f"{verdict.decisions} decisions: {len(verdict.violations)} violations of law 9, "
        f"{report.failed} requests failed\n"
        f"the swap itself p50 {pct(assigned_us, 50)}, p99 {pct(assigned_us, 99)} us; "
        f"from the signed file to live p50 {pct(live_ms, 50)}, p99 {pct(live_ms, 99)} ms "
        f"(a file is looked at every 100 ms)\n"
        f"{stood_still(await probing)}"
    )


async def long_policy(times: int = 15) -> str:
    """How the loop fares while the longest policy of the library is verified beside it."""
    text = max((path.read_text(encoding="utf-8") for path in LIBRARY.glob("*.py")), key=len)
    load_modules()
    gc.collect()
    gc.freeze()  # as `evolver serve` does
    probing = asyncio.create_task(_stalls())
    for _ in range(times):
        await beside_the_loop(verify, text, "policy")
        await asyncio.sleep(0.02)
    probing.cancel()
    return (
        f"\nbeside a thread that verifies a policy of {len(text)} characters {times} times: "
        f"{stood_still(await probing)}"
    )


def stood_still(stalls: Sequence[tuple[float, float]]) -> str:
    """What `_stalls` found."""
    late_ms, worked_ms = zip(*stalls, strict=True)
    return (
        f"longest time that the event loop stood still {max(late_ms):.3g} ms, "
        f"p99 {pct(late_ms, 99)} ms; of it this process worked {max(worked_ms):.3g} ms at most, "
        f"p99 {pct(worked_ms, 99)} ms"
    )


_prepare = partial(prepare_policy, engine="compiled")


def _timed(host: PolicyHost) -> list[float]:
    """Microseconds of each assignment from now on: what decides changes, nothing else."""
    taken_us: list[float] = []
    assign = host.slot.assign

    def timed(live: Live) -> Live:
        began_s = time.perf_counter()
        done = assign(live)
        taken_us.append(1e6 * (time.perf_counter() - began_s))
        return done

    host.slot.assign = timed  # type: ignore[method-assign]  # to be measured
    return taken_us


async def _decide(host: PolicyHost, request: LoadRequest) -> Served:
    facts = RequestFacts(arrived_s=host.now_s(), prompt_tokens=request.prompt_tokens)
    live = host.live  # a request keeps its version
    decision = host.route(facts, live=live)
    while decision.instance_id < 0:
        await asyncio.sleep(0.01)
        decision = host.route(facts, held_count=1, live=live)
    return Served(request, 200, True, 0.0, 0.0, 8, decision.sequence, decision.digest)


@dataclass
class Signed:
    """Snapshots that were signed before; `next` gives one after the other, as a publisher does."""

    made: list[Snapshot]
    snapshots: list[Snapshot] = field(default_factory=list)

    def next(self) -> Snapshot:
        """The next of them."""
        self.snapshots.append(self.made[len(self.snapshots)])
        return self.snapshots[-1]


def _published(publisher: Publisher) -> Iterator[Snapshot]:
    while True:
        yield publisher.next()


async def _stalls() -> list[tuple[float, float]]:
    """Lateness of short sleeps in milliseconds, until cancelled, and what this process did then.

    The loop stands still while it works, or while another thread does and has the interpreter. When
    nobody here had a processor for longer, the system had given it to others.
    """
    late_ms: list[tuple[float, float]] = []
    try:
        while True:
            began_s, used_s = time.perf_counter(), time.process_time()
            await asyncio.sleep(0.002)
            late_s = time.perf_counter() - began_s - 0.002
            late_ms.append((1e3 * late_s, 1e3 * min(late_s, time.process_time() - used_s)))
    except asyncio.CancelledError:
        return late_ms


if __name__ == "__main__":
    main()
