"""Prints our simulator and others from the package index on the same trace, in one go.

Every simulator runs in a process of its own. Its processor time is that of the process, less that
of the same process on two requests; both are shown. Peers are installed in environments of their
own, the first time, and what cannot be had is said in one sentence.

    python benchmarks/peers.py [--requests 20000] [--environments DIR]
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from peer_environments import AISIMULATE, DYNAMO, VIDUR, Cost, PeerUnavailable, environment
from peer_runs import (
    BUDGET,
    ENGINES,
    GPU,
    MODEL,
    SEED,
    TABLES,
    TRACE,
    VIDUR_TRACE,
    Entry,
    Found,
    cluster,
    entries,
)
from peer_traces import first_that_fit, step_tables, write_mooncake, write_tables, write_vidur

from sandbox.home import home
from sandbox.profiles import load_profile
from sandbox.replay import capacity_rps
from telemetry.generator import generate
from telemetry.profile import TrafficProfile
from telemetry.profile import load_profile as load_traffic
from telemetry.trace import Trace

LOAD = 0.8
LONGEST_TOKENS = 100_000
CAPACITY_REQUESTS = 3000  # enough to find out what the fleet serves
START_RUNS = 3
TRAFFIC = {"independent prompts": "azure2023_conv", "shared prefixes": "mooncake_conversation"}


@dataclass(frozen=True)
class Row:
    """One line of the table; found: what the simulator itself reports."""

    entry: Entry
    cost: Cost
    start_s: float
    found: Found
    requests: int

    @property
    def net_s(self) -> float:
        """Processor time of reading and simulating: ours as it says, else less the start-up."""
        if "reading_s" in self.found:
            return self.found["reading_s"] + self.found["simulating_s"]
        return self.cost.cpu_s - self.start_s

    @property
    def rate(self) -> float:
        """Requests per second of that time; NaN when the start-up's noise hides it."""
        return self.requests / self.net_s if self.net_s > 0 else math.nan

    @property
    def memory_rate(self) -> float:
        """The same for a trace that is in memory; only ours tells."""
        return self.requests / self.found.get("simulating_s", math.nan)


def main() -> None:
    """Print one table for each kind of traffic."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    options.add_argument("--requests", type=int, default=20_000)
    options.add_argument("--environments", help="where peers are installed")
    chosen = options.parse_args()
    directory = Path(chosen.environments) if chosen.environments else home() / "peers"
    print(f"{os.cpu_count()} x {_processor()}, Python {platform.python_version()}, seed {SEED}")
    print(f"{ENGINES} engines of {GPU} x {MODEL}, load {LOAD:g} of what the default policy serves")
    pythons = _environments(directory)
    for what, profile in TRAFFIC.items():
        shared = profile == TRAFFIC["shared prefixes"]
        trace = _trace(profile, chosen.requests, shared)
        print(
            f"\n{what} ({profile}): {len(trace):,} requests at {trace.rate_rps:.1f}/s, mean "
            f"{trace.prompt_tokens.mean():,.0f} tokens in, {trace.output_tokens.mean():,.0f} out"
        )
        with tempfile.TemporaryDirectory() as place:
            print_table(_measure(trace, pythons, Path(place), shared))


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _environments(directory: Path) -> dict[str, Path]:
    found = {}
    for peer in (DYNAMO, AISIMULATE, VIDUR):
        try:
            found[peer.name] = environment(peer, directory)
            print(f"{peer.name}: {peer.versions}")
        except PeerUnavailable as error:
            print(f"{peer.name} is left out: {error}.")
    return found


def _trace(name: str, requests: int, shared: bool) -> Trace:
    profile = load_traffic(name)
    if not isinstance(profile, TrafficProfile):
        raise TypeError(f"{name} is no traffic profile")
    drawn = generate(profile, n=requests + requests // 10, seed=SEED)
    trace = first_that_fit(drawn, requests, LONGEST_TOKENS)
    start = first_that_fit(trace, CAPACITY_REQUESTS, LONGEST_TOKENS)
    return trace.scale_rate(LOAD * capacity_rps(start, cluster(shared)) / trace.rate_rps)


def _measure(trace: Trace, pythons: dict[str, Path], place: Path, shared: bool) -> Iterator[Row]:
    """Every simulator on two requests, some times, and on all of them."""
    tiny, full = place / "tiny", place / "full"
    profile = load_profile(GPU, MODEL, 1)
    tables = step_tables(profile, BUDGET, profile.kv_capacity_tokens)
    for directory, part in ((tiny, first_that_fit(trace, 2, LONGEST_TOKENS)), (full, trace)):
        directory.mkdir()
        write_mooncake(part, directory / TRACE)
        write_vidur(part, directory / VIDUR_TRACE)
        write_tables(tables, directory / TABLES)
    for entry in entries(pythons, shared):
        try:
            start_s = statistics.median(entry.run(tiny)[0].cpu_s for _ in range(START_RUNS))
            cost, found = entry.run(full)
        except PeerUnavailable as error:
            print(f"{entry.name} ({entry.router}) is left out: {error}.")
            continue
        yield Row(entry, cost, start_s, found, len(trace))


def print_table(rows: Iterable[Row]) -> None:
    """The table; `x` is how many times faster the first row is, ours under round robin."""
    print(
        f"{'':<19}{'router':<16}{'CPU s':>7}{'start':>7}{'req/CPU-s':>11}{'x':>7}"
        f"{'in memory':>11}{'x':>7}{'wall s':>8}{'MiB':>6}{'finished':>10}{'cached':>8}"
        f"{'TTFT s':>8}{'TPOT ms':>9}{'E2E s':>8}"
    )
    first = None
    for row in rows:
        first = first or row
        print(_line(row, first), flush=True)


def _line(row: Row, first: Row) -> str:
    found = row.found
    memory = f"{row.memory_rate:,.0f}" if row.memory_rate > 0 else ""
    return (
        f"{row.entry.name:<19}{row.entry.router:<16}{row.cost.cpu_s:>7.2f}{row.start_s:>7.2f}"
        f"{row.rate:>11,.0f}{first.rate / row.rate:>7.1f}{memory:>11}"
        f"{first.memory_rate / row.rate:>7.0f}{row.cost.wall_s:>8.1f}"
        f"{row.cost.rss_mib:>6.0f}{found['finished']:>10,.0f}{found['cached']:>8.0%}"
        f"{found['ttft_s']:>8.3f}{found['tpot_s'] * 1e3:>9.2f}{found['e2e_s']:>8.2f}"
    )


if __name__ == "__main__":
    main()
