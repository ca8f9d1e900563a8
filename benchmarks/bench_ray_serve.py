"""What this project adds inside Ray Serve per request and per controller tick; needs no Ray.

    python benchmarks/bench_ray_serve.py

A decision is all that the router class does of its own: bring the rows up to date from Serve's
queue lengths, read the request, ask the compiled policy, check the answer. Serve's own work comes
on top and is the same without us. A tick is one call of the autoscaling class. Times are the
processor's, so that other work on the machine does not count.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from evolver.library import read
from serving_adapter.activation import prepare_policy
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceTable
from serving_adapter.ray_serve.choosing import Candidate, Chooser
from serving_adapter.ray_serve.replica_counts import shared_counts
from serving_adapter.safety.limits import UNWATCHED_ARM

BODY = {"messages": [{"role": "user", "content": "how long does a decision take?"}]}
ROUNDS = {3: 5_000, 16: 5_000, 64: 2_000, 512: 400}


class Tick:
    """What a controller shows of a deployment with three replicas."""

    target_num_replicas, running_replicas = 1, ("a", "b", "c")
    total_queued_requests, raw_metrics = 0.0, {}
    capacity_adjusted_min_replicas, capacity_adjusted_max_replicas = 1, 8


def quantiles_us(times_s: list[float]) -> str:
    """Median and 99th percentile of some times, in microseconds."""
    p50, p99 = np.quantile(times_s, (0.5, 0.99)) * 1e6
    return f"p50 {p50:7.1f} us   p99 {p99:7.1f} us"


async def decisions(policy: str) -> None:
    """Print what a decision takes among so many replicas."""
    for count, rounds in ROUNDS.items():
        prepare = partial(prepare_policy, engine="compiled")
        table = InstanceTable(counts_flights=False)
        host = PolicyHost(table, prepare=prepare, limits=UNWATCHED_ARM)
        await host.swap(read(policy), 1)
        chooser, times_s = Chooser(host), []
        for turn in range(rounds):
            known = [Candidate(f"r{k}", (k + turn) % 9, {}, 16) for k in range(count)]
            before_s = time.thread_time()
            chooser.choose(chooser.request("a", BODY), known)
            times_s.append(time.thread_time() - before_s)
        print(f"decision, {count:3d} replicas   {quantiles_us(times_s)}")


def ticks(folder: Path) -> None:
    """Print what a tick of the controller takes once a plan is there."""
    missing = {"snapshot": str(folder / "none"), "trust": str(folder / "none")}
    counts = shared_counts({"cluster": "h100-8b", "engine": "interpreted", **missing})
    times_s = []
    counts.target(Tick())  # type: ignore[arg-type]  # attributes of the class will do
    for _ in range(5_000):
        before_s = time.thread_time()
        counts.target(Tick())  # type: ignore[arg-type]
        times_s.append(time.thread_time() - before_s)
    counts.thread.stop()
    print(f"controller tick           {quantiles_us(times_s)}")


if __name__ == "__main__":
    asyncio.run(decisions(sys.argv[1] if len(sys.argv) > 1 else "least_loaded"))
    with tempfile.TemporaryDirectory() as made:
        ticks(Path(made))
