"""Prints whether a fleet of emulated engines ranks five routing policies as the simulator does.

Run by `make bench-ranking`. A stretch of real traffic (a generated one where the development trace
is not there) is laid on three engines of different GPUs at 0.8 of their capacity. The simulator
predicts what each policy makes of it; then the same requests go over HTTP through the real gateway
to engines that are processes of their own, on a clock `--time-scale` times as fast, one policy
after the other. Every seed is another stretch. Latencies are engine seconds.

Two policies are told apart where they differ by more than `ERROR`; the correlation is Kendall's
tau-b over the pairs that both sides tell apart, pooled over the stretches, which are drawn whole
for its interval.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from aiohttp import web
from rank_statistics import Agreement, compare, interval, total

from evolver import library
from evolver.cli.demo_scene import LOAD, PROFILE, fleet
from evolver.cli.demo_swap import specs
from sandbox.engine import load_policy
from sandbox.replay import at_load
from sandbox.replay import replay as simulated
from sandbox.simulation import Setup
from sandbox.verifier import verify
from serving_adapter.emulation.fleet import Fleet
from serving_adapter.emulation.load import LoadRequest, replay
from serving_adapter.emulation.rehearsal import scraped
from serving_adapter.exposition import Registry
from serving_adapter.gateway.gateway import Gateway, GatewaySettings
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceTable
from serving_adapter.safety.limits import UNWATCHED_ARM
from serving_adapter.web_server import LOOPBACK, bound_port, new_runner
from telemetry import Trace, generate, load_profile, read_trace

POLICIES = (
    "round_robin", "power_of_two", "least_loaded", "prefix_affinity", "least_predicted_completion",
)  # fmt: skip
TRACE = Path(__file__).resolve().parents[2] / "shared/traces/requests/azure2023_conv.csv.gz"
ERROR = 0.05
AROUND_S = 300.0  # of the traffic, by which the load is set
METRICS = ("ttft_s", "e2e_s")
MAX_WALL_S = 120.0


@dataclass(frozen=True)
class Seen:
    """Means of one policy on one stretch, in engine seconds: by metric."""

    policy: str
    predicted: dict[str, float]
    realised: dict[str, float]
    failed: int
    requests: int


def main() -> None:
    """Predict, serve, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--span-s", type=float, default=60.0, help="engine seconds of each stretch")
    parser.add_argument("--time-scale", type=float, default=4.0)
    options = parser.parse_args()
    traffic = recorded()
    print(
        f"{'development trace' if TRACE.exists() else 'generated trace'} {PROFILE}, load {LOAD}, "
        f"{options.span_s:g} engine seconds at {options.time_scale:g} times real time; "
        f"{platform.machine()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}"
    )
    began_s, cells = time.monotonic(), []
    for seed in range(1, options.seeds + 1):
        setup = stretch(traffic, options.span_s, seed)
        cells.append(asyncio.run(one_stretch(setup, options.time_scale)))
        show(seed, cells[-1])
    summary(cells)
    print(f"{time.monotonic() - began_s:.0f} s")


def recorded() -> Trace:
    """The traffic that stretches are cut from."""
    if TRACE.exists():
        return read_trace(TRACE)
    return generate(load_profile(PROFILE), span_s=3600.0, seed=1)


def stretch(traffic: Trace, span_s: float, seed: int) -> Setup:
    """A piece of the traffic at the load, from a place that the seed draws."""
    cluster = fleet()
    around_s = min(AROUND_S, traffic.span_s)
    start_s = float(np.random.default_rng(seed).uniform()) * (traffic.span_s - around_s)
    scaled, _ = at_load(traffic.slice(start_s, start_s + around_s), cluster, LOAD)
    piece = scaled.slice(0.0, span_s)
    return Setup(piece, cluster, seed=seed, stop_s=20.0 * span_s)


async def one_stretch(setup: Setup, time_scale: float) -> list[Seen]:
    """Every policy on one stretch, predicted and served."""
    host = PolicyHost(InstanceTable(), limits=UNWATCHED_ARM)
    async with Fleet(specs(time_scale)) as engines:
        settings = GatewaySettings(scrape_s=1.0 / time_scale)
        gateway = Gateway(host, engines.facts(), Registry(), settings=settings)
        runner = new_runner(gateway.application())
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, 0).start()
            await scraped(gateway.engines)
            url, model = f"http://{LOOPBACK}:{bound_port(runner)}", engines.engines[0].model
            return [
                await one_policy(host, setup, name, url, model, time_scale) for name in POLICIES
            ]
        finally:
            await runner.cleanup()


async def one_policy(
    host: PolicyHost, setup: Setup, name: str, url: str, model: str, time_scale: float
) -> Seen:
    """What one policy makes of a stretch, here and there."""
    source, trace = library.read(name), setup.trace
    loaded = load_policy(verify(source), engine="compiled", only=("route",))
    latencies = simulated(setup, [(name, loaded)])[0].metrics.latencies
    await host.swap(source, host.live.sequence + 1)
    rows = zip(trace.arrival_s, trace.prompt_tokens, trace.output_tokens, strict=True)
    requests = [LoadRequest(float(at), int(prompt), int(out)) for at, prompt, out in rows]
    served = await replay(
        requests, url, model=model, time_scale=time_scale, max_wall_s=MAX_WALL_S
    )
    good = [one for one in served if one.ok]
    realised = {metric: mean([getattr(one, metric) for one in good]) for metric in METRICS}
    predicted = {metric: latencies[metric]["mean"] for metric in METRICS}
    return Seen(name, predicted, realised, len(served) - len(good), len(served))


def mean(values: Sequence[float]) -> float:
    """NaN where there are none."""
    return float(np.mean(values)) if values else float("nan")


def show(seed: int, cell: Sequence[Seen]) -> None:
    """The table of one stretch."""
    print(f"\nstretch {seed}: {cell[0].requests} requests under each policy")
    print(f"{'policy':<28}{'TTFT s predicted':>17}{'realised':>10}{'E2E s predicted':>17}"
          f"{'realised':>10}{'failed':>8}")  # fmt: skip
    for seen in sorted(cell, key=lambda one: one.predicted["e2e_s"]):
        print(f"{seen.policy:<28}{seen.predicted['ttft_s']:>17.3f}{seen.realised['ttft_s']:>10.3f}"
              f"{seen.predicted['e2e_s']:>17.3f}{seen.realised['e2e_s']:>10.3f}"
              f"{seen.failed:>8}")  # fmt: skip
    for metric in METRICS:
        print(f"  {metric}: tau {agreement(cell, metric).tau:.2f}", flush=True)


def agreement(cell: Sequence[Seen], metric: str) -> Agreement:
    """How the two rankings of one stretch agree."""
    return compare(
        [one.predicted[metric] for one in cell], [one.realised[metric] for one in cell], ERROR
    )


def summary(cells: Sequence[Sequence[Seen]]) -> None:
    """All stretches together."""
    print(f"\nrank correlation over {len(cells)} stretches, pairs apart by over {ERROR:.0%}")
    for metric in METRICS:
        counts = [agreement(cell, metric) for cell in cells]
        pooled, (low, high) = total(counts), interval(counts, seed=0)
        every = [one for cell in cells for one in cell]
        ratio = mean([one.realised[metric] / one.predicted[metric] for one in every])
        print(f"  {metric}: tau {pooled.tau:.2f} ({low:.2f} to {high:.2f}), {pooled.ours} of "
              f"{pooled.pairs} pairs told apart by both, {pooled.discordant} the other way; "
              f"realised / predicted {ratio:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
