"""Prints whether our simulator ranks policies as an independent one does: NVIDIA's Dynamo replay.

The same traces, engines and step times go into both, every policy is run in both at every load,
and Kendall's tau-b says how far the two orders agree; pairs closer than the error of a step-time
profile are ties. Dynamo is installed in an environment of its own the first time.

    python benchmarks/rank_order.py [--trace FILE ...] [--loads 0.5 0.8 0.95] [--error 0.05]
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from peer_environments import DYNAMO, PeerUnavailable, environment, run_measured
from peer_traces import affine_tables, first_that_fit, step_tables, write_mooncake, write_tables
from rank_policies import PAIRS, Pair
from rank_statistics import Agreement, compare, discordant_pairs, interval, total

from sandbox.cluster import ClusterSpec
from sandbox.engine import LoadedPolicy, load_policy
from sandbox.hardware import build_hardware
from sandbox.home import home
from sandbox.metrics import measure
from sandbox.profiles import Profile, load_profile
from sandbox.replay import capacity_rps, default_policy
from sandbox.simulation import Setup, simulate
from sandbox.verifier import verify
from telemetry.generator import generate
from telemetry.profile import TrafficProfile
from telemetry.profile import load_profile as load_traffic
from telemetry.readers import read_trace
from telemetry.trace import Trace

TRAFFIC = ("azure2023_conv", "mooncake_conversation", "servegen_reason")
METRICS = ("e2e_s", "ttft_s")
GPU, MODEL, ENGINES = "H100", "Llama-3.1-8B", 4
BUDGET, SEATS, BLOCK = 2048, 256, 16
TYPICAL_BATCH = 64  # where the affine step times are taken from the profile
LONGEST_TOKENS = 100_000
SEED = 1


@dataclass(frozen=True)
class Cell:
    """One trace at one load, with mean latencies in seconds, shape (policies,), of each metric."""

    trace: str
    load: float
    ours: dict[str, list[float]]
    theirs: dict[str, list[float]]


def main() -> None:
    """Run everything in both simulators and print the tables."""
    chosen = _options().parse_args()
    directory = Path(chosen.environments) if chosen.environments else home() / "peers"
    try:
        python = environment(DYNAMO, directory)
    except PeerUnavailable as error:
        print(f"nothing to compare with: {error}")
        return
    print(f"{platform.machine()}, Python {platform.python_version()}; {DYNAMO.versions}")
    print(
        f"{ENGINES} engines of {GPU} x {MODEL}, step times: {chosen.timing}; seeds from {SEED}, "
        f"{chosen.repeats} of each; ties below {chosen.error:.0%}\n"
    )
    profile = load_profile(GPU, MODEL, 1)
    if chosen.timing == "affine":
        profile = affine(profile)
    profile = replace(profile, request_overhead_ps=0)
    with tempfile.TemporaryDirectory() as place, only_profile(profile):
        cells = run(chosen, profile, python, Path(place))
    report(cells, chosen.error)


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    options.add_argument("--trace", nargs="+", default=[], help="files instead of generated ones")
    options.add_argument("--loads", nargs="+", type=float, default=[0.5, 0.8, 0.95])
    options.add_argument("--requests", type=int, default=3000, help="of each trace")
    options.add_argument("--repeats", type=int, default=3, help="runs with other seeds to average")
    options.add_argument("--error", type=float, default=0.05, help="closer pairs are ties")
    options.add_argument("--timing", choices=("affine", "tables"), default="affine")
    options.add_argument("--environments", help="where peers are installed")
    return options


def affine(profile: Profile) -> Profile:
    """A profile that Dynamo's tables can say exactly: affine in new and in context tokens.

    Its mixed step is the sum of a prefill and a decode step; ours is that too when the time of
    new tokens has no constant part and the decode part exceeds it at every batch.
    """
    new_ps = profile.step_ps([(BUDGET, 0)], 0, 0) // BUDGET
    decode_ps = profile.step_ps([], TYPICAL_BATCH, 0)
    context_ps = profile.step_ps([], TYPICAL_BATCH, 1) - decode_ps
    grid, nothing = np.array([1, 16_384]), np.zeros(2, np.int64)
    return replace(
        profile,
        token_grid=grid,
        prefill_ps=new_ps * grid,
        batch_grid=np.array([1, 1024]),
        decode_ps=np.full(2, decode_ps),
        context_ps=np.full(2, context_ps),
        attention=(0, 0, 0),
        all_reduce_tokens_ps=nothing,
        all_reduce_batch_ps=nothing,
        step_overhead_ps=0,
    )


@contextmanager
def only_profile(profile: Profile) -> Iterator[None]:
    """Within, every cluster that is built has engines of this profile."""

    def one(gpu: str, model: str, tp: int) -> Profile:
        return profile if tp == 1 else load_profile(gpu, model, tp)

    with mock.patch("sandbox.hardware.load_profile", one):
        yield


def run(chosen: argparse.Namespace, profile: Profile, python: Path, place: Path) -> list[Cell]:
    """All traces at all loads; Dynamo's runs go into one process at the end of each trace."""
    tables = place / "steps.npz"
    made = (
        affine_tables(
            profile.step_ps([(1, 0)], 0, 0),
            profile.step_ps([], 1, 0),
            profile.step_ps([], 1, 1) - profile.step_ps([], 1, 0),
        )
        if chosen.timing == "affine"
        else step_tables(profile, BUDGET, profile.kv_capacity_tokens)
    )
    write_tables(made, tables)
    cluster = our_cluster()
    policies = [(pair, load_policy(verify(pair.source, pair.name))) for pair in PAIRS]
    cells = []
    for trace in traces(chosen.trace, chosen.requests):
        most = capacity_rps(trace, cluster, SEED)
        print(f"{trace.meta.name}: {len(trace):,} requests, capacity {most:.2f} requests/s")
        for load in chosen.loads:
            scaled = trace.scale_rate(load * most / trace.rate_rps)
            ours = our_means(scaled, cluster, policies, chosen.repeats)
            file = place / "trace.jsonl"
            write_mooncake(scaled, file)
            engine = their_engine(profile, tables)
            theirs = their_means(python, place, file, engine, chosen.repeats)
            cells.append(Cell(trace.meta.name, load, ours, theirs))
            print_cell(cells[-1], chosen.error)
    return cells


def traces(files: Sequence[str], requests: int) -> Iterator[Trace]:
    """The files given, or draws from three shipped profiles; their first requests."""
    for file in files:
        yield first_that_fit(read_trace(file), requests, LONGEST_TOKENS)
    if files:
        return
    for name in TRAFFIC:
        profile = load_traffic(name)
        if not isinstance(profile, TrafficProfile):
            raise TypeError(f"{name} is no traffic profile")
        drawn = generate(profile, n=2 * requests, seed=SEED)
        yield first_that_fit(drawn, requests, LONGEST_TOKENS)


def our_cluster() -> ClusterSpec:
    """Engines as Dynamo's: one router that sees everything at once and decides for free."""
    return ClusterSpec.model_validate(
        {
            "name": "rank-order",
            "model": MODEL,
            "pool": [{"gpu": GPU, "count": ENGINES, "node_size": 1}],
            "replica": [{"pool": 0, "tp": 1, "count": ENGINES}],
            "engine": {"max_num_batched_tokens": BUDGET, "max_num_seqs": SEATS},
            "router": {"count": 1, "signal_age_s": 0.0},
            "price": {"fuel_ns": 1e-6},
        }
    )


def our_means(
    trace: Trace, cluster: ClusterSpec, policies: Sequence[tuple[Pair, LoadedPolicy]], repeats: int
) -> dict[str, list[float]]:
    """Mean latencies of every policy, averaged over seeds."""
    means: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for pair, policy in policies:
        found = [_our_run(trace, cluster, policy, pair.name, SEED + k) for k in range(repeats)]
        for metric in METRICS:
            means[metric].append(float(np.mean([one[metric] for one in found])))
    return means


def _our_run(
    trace: Trace, cluster: ClusterSpec, policy: LoadedPolicy, name: str, seed: int
) -> dict[str, float]:
    setup = Setup(trace, cluster, seed=seed, stop_s=20.0 * trace.span_s + 3600.0)
    outcome = simulate(setup, policy, default_policy())
    measured = measure(outcome, setup, build_hardware(cluster))
    missing = len(trace) - int(measured.numbers["finished"])
    if missing or measured.numbers["faults"]:
        raise RuntimeError(f"{name}: {missing} requests did not finish, or the policy is at fault")
    return {metric: measured.latencies[metric]["mean"] for metric in METRICS}


def their_engine(profile: Profile, tables: Path) -> dict[str, Any]:
    """The engine's settings under Dynamo's names."""
    return {
        "num_gpu_blocks": profile.kv_capacity_tokens // BLOCK,
        "block_size": BLOCK,
        "max_num_seqs": SEATS,
        "max_num_batched_tokens": BUDGET,
        "timing_model": {
            "type": "external",
            "provider": "dynamo_profile",
            "config": {"path": str(tables)},
        },
    }


def their_means(
    python: Path, place: Path, trace: Path, engine: dict[str, Any], repeats: int
) -> dict[str, list[float]]:
    """The same from Dynamo, whose ties fall by chance: it takes no seed, so runs are repeated."""
    jobs = [
        {"trace": str(trace), "engine": engine, "workers": ENGINES, "router": pair.router}
        for pair in PAIRS
        for _ in range(repeats)
    ]
    listed = place / "jobs.json"
    listed.write_text(json.dumps(jobs), "utf-8")
    script = Path(__file__).with_name("peer_dynamo.py")
    _, printed = run_measured([str(python), str(script), str(listed)], place)
    found = [json.loads(line) for line in printed.splitlines()]
    return {
        metric: [
            float(np.mean([one[metric] for one in found[k * repeats : (k + 1) * repeats]]))
            for k in range(len(PAIRS))
        ]
        for metric in METRICS
    }


def print_cell(cell: Cell, error: float) -> None:
    """Mean latencies side by side, and the cell's agreement."""
    print(f"\n  load {cell.load:g}{'':<12}{'E2E s: ours':>12}{'theirs':>9}{'diff':>8}"
          f"{'TTFT s: ours':>16}{'theirs':>9}{'diff':>8}")  # fmt: skip
    for k, pair in enumerate(PAIRS):
        line = f"  {pair.name:<20}"
        for metric, width in zip(METRICS, (12, 16), strict=True):
            a, b = cell.ours[metric][k], cell.theirs[metric][k]
            line += f"{a:>{width}.3f}{b:>9.3f}{a / b - 1:>+8.1%}"
        print(line)
    for metric in METRICS:
        found = _agreement(cell, metric, error)
        names = [pair.name for pair in PAIRS]
        against = discordant_pairs(names, cell.ours[metric], cell.theirs[metric], error)
        print(f"  {metric:<7} {_sentence(found)}", end="")
        print("".join(f"; ours prefers {a} to {b}" for a, b in against), flush=True)


def _agreement(cell: Cell, metric: str, error: float, joint: bool = True) -> Agreement:
    return compare(cell.ours[metric], cell.theirs[metric], error, joint)


def _sentence(found: Agreement) -> str:
    return (
        f"tau-b {found.tau:+.3f} of {found.ours} pairs told apart "
        f"({found.discordant} discordant, {found.pairs - found.ours} ties)"
    )


def report(cells: Sequence[Cell], error: float) -> None:
    """One row a cell, and all of them together with their interval."""
    print(f"\n{'trace':<28}{'load':>6}{'tau-b E2E':>11}{'pairs':>7}{'tau-b TTFT':>12}{'pairs':>7}")
    for cell in cells:
        line = f"{cell.trace:<28}{cell.load:>6g}"
        for metric, width in zip(METRICS, (11, 12), strict=True):
            found = _agreement(cell, metric, error)
            line += f"{found.tau:>+{width}.3f}{found.ours:>7}"
        print(line)
    for metric in METRICS:
        for label, share, joint in (
            (f"pairs within {error:.0%} are ties on both sides", error, True),
            (f"pairs within {error:.0%} are ties on that side", error, False),
            ("no ties", 0.0, True),
        ):
            counts = [_agreement(cell, metric, share, joint) for cell in cells]
            low, high = interval(counts, SEED)
            both = total(counts)
            print(f"{metric:<7} {both.tau:+.3f} [{low:+.3f}, {high:+.3f}], {label} "
                  f"({both.discordant} of {both.pairs} pairs discordant)")  # fmt: skip


if __name__ == "__main__":
    main()
