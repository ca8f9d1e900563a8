"""Prints how fast the simulator is: cold compile, requests per CPU second, and memory by size.

Every row runs in a process of its own, so that its peak memory is its own. On a quiet machine:
`python benchmarks/bench_simulator.py`, or with `--quick` without the rows of a million requests.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sandbox.cluster import ClusterSpec

SEED = 1
POLICY = "least_predicted_completion"
MODEL = "Llama-3.1-8B"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        load: share of what the fleet serves that arrives; above 1 it cannot keep up.
        kv_tokens: KV capacity of every engine, None for what its GPU has; small ones preempt.
    """

    what: str
    profile: str
    requests: int
    instances: int
    engine: Literal["compiled", "interpreted"] = "compiled"
    load: float = 0.8
    kv_tokens: int | None = None


ROWS = (
    *(Row("routing", "azure2023_conv", n, k) for n in (20_000, 1_000_000) for k in (4, 8)),
    Row("routing", "azure2023_conv", 20_000, 4, "interpreted"),
    Row("routing", "azure2023_conv", 20_000, 8, "interpreted"),
    Row("prefix cache", "mooncake_conversation", 20_000, 8),
    Row("prefix cache", "mooncake_conversation", 100_000, 8),
    Row("KV preemption", "azure2023_conv", 20_000, 8, load=1.5, kv_tokens=24_000),
    Row("KV preemption", "azure2023_conv", 1_000_000, 8, load=1.5, kv_tokens=24_000),
)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="leave out the largest rows")
    options.add_argument("--row", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.row:
        print(json.dumps(run(Row(**json.loads(chosen.row)))))
        return
    print(f"machine: {os.cpu_count()} x {_processor()}, Python {platform.python_version()}")
    print(f"machine code is kept in {_cache()}")
    for parts in (1, 2):
        cold, warm = compile_s(parts)
        print(
            f"kernel, {parts} process(es): compiled in {cold[0]:.1f} s ({cold[1]:.1f} s of "
            f"processor time), loaded from disk in {warm[0]:.1f} s"
        )
    print(f"\npolicy {POLICY}, {MODEL} on H100s, one GPU an instance, seed {SEED}")
    print(f"{'':<14}{'requests':>10}{'inst':>5} {'policy':<12}{'load':>5}{'req/CPU-s':>11}"
          f"{'tokens/CPU-s':>14}{'preempt':>9}{'cached':>8}{'MiB':>7}")  # fmt: skip
    for row in ROWS:
        if not (chosen.quick and row.requests > 100_000):
            print(_line(row, _in_a_process(row)), flush=True)


def _processor() -> str:
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _line(row: Row, found: dict[str, float]) -> str:
    return (
        f"{row.what:<14}{row.requests:>10,}{row.instances:>5} {row.engine:<12}{row.load:>5.2f}"
        f"{found['rate']:>11,.0f}{found['tokens']:>14,.0f}{found['preemptions']:>9,.0f}"
        f"{found['cached']:>8.0%}{found['mib']:>7,.0f}"
    )


def _in_a_process(row: Row) -> dict[str, float]:
    command = [sys.executable, __file__, "--row", json.dumps(asdict(row))]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def _cache() -> str:
    from sandbox.kernel.cache import cache_directory

    return str(cache_directory())


def compile_s(parts: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Seconds, and seconds of processor time, into an empty directory, and again from it."""
    with tempfile.TemporaryDirectory() as empty:
        return _compile_into(empty, parts), _compile_into(empty, parts)


def _compile_into(directory: str, parts: int) -> tuple[float, float]:
    code = (
        "from pathlib import Path; import sys\n"
        "from sandbox.kernel import cache\n"
        "cache.cache_directory = lambda: Path(sys.argv[1])\n"
        "from sandbox.kernel.program import compile_entry\n"
        "for name in sys.argv[2:]: compile_entry(name)"
    )
    from sandbox.kernel.jit import ENTRIES

    started, spent = time.perf_counter(), _children_cpu_s()
    shares = [ENTRIES[k::parts] for k in range(parts)]
    children = [subprocess.Popen([sys.executable, "-c", code, directory, *s]) for s in shares]
    if sum(child.wait() != 0 for child in children):
        raise RuntimeError("a child could not compile; its message is above")
    return time.perf_counter() - started, _children_cpu_s() - spent


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(row: Row) -> dict[str, float]:
    """One simulation, laying it out included: rates per second of processor time."""
    from evolver.library import read
    from sandbox.engine import load_policy
    from sandbox.kernel.program import Program
    from sandbox.replay import capacity_rps, default_policy
    from sandbox.simulation import EVENTS_PER_CALL, Setup, build
    from sandbox.verifier import verify
    from telemetry.generator import generate
    from telemetry.profile import TrafficProfile, load_profile

    cluster = _cluster(row)
    profile = load_profile(row.profile)
    if not isinstance(profile, TrafficProfile):
        raise TypeError(f"{row.profile} is no traffic profile")
    small = generate(profile, n=min(row.requests, 5000), seed=SEED)
    rate = row.load * capacity_rps(small, cluster) / profile.rate_rps
    trace = generate(profile, n=row.requests, seed=SEED, rate_scale=rate)
    policy = load_policy(verify(read(POLICY), POLICY), engine=row.engine)
    started = time.process_time()
    sim = build(Setup(trace, cluster, seed=SEED), policy, default_policy())
    if row.kv_tokens is not None:
        shapes = sim.shapes.copy()
        shapes["kv_tokens"], shapes["kv_blocks"] = row.kv_tokens, row.kv_tokens // 16
        sim = sim._replace(shapes=shapes)
    program = Program(sim)
    program.start()
    while program.run(EVENTS_PER_CALL):
        pass
    spent = time.process_time() - started
    totals = sim.totals[0]
    ended = int(totals["finished"] + totals["rejected"])
    return {
        "rate": ended / spent,
        "tokens": float(trace.output_tokens.sum()) / spent,
        "preemptions": float(totals["preemptions"]),
        "cached": float(totals["cached_tokens"]) / max(int(totals["prompt_tokens"]), 1),
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
    }


def _cluster(row: Row) -> ClusterSpec:
    from sandbox.cluster import ClusterSpec

    return ClusterSpec.model_validate(
        {"name": "bench", "model": MODEL, "pool": [{"gpu": "H100", "count": row.instances}]}
    )


if __name__ == "__main__":
    main()
