"""Prints how fast the simulator is: compiling, requests per CPU second by feature, and memory.

Run by `make bench`; `--quick` leaves out the rows of a million requests, `--full` adds a million
under interpreted policies. Every row runs in a process of its own, after its trace was drawn in
another, so that peak memory is the simulation's. A row is the best of three runs (one for a
million): other work on the machine only ever slows a run down.
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
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from sandbox.cluster import ClusterSpec
    from sandbox.simulation import Setup
    from telemetry.trace import Trace

Engine = Literal["compiled", "interpreted"]
What = Literal["routing", "prefix", "disaggregated", "elastic", "sessions"]

SEED = 1
MODEL = "Llama-3.1-8B"
SMALL, LARGE = 20_000, 1_000_000
TIGHT_KV_TOKENS = 24_000  # of an H100's 430,000: enough preemption to be seen, not to drown in
POLICIES: dict[What, str] = {
    "routing": "least_predicted_completion",
    "prefix": "prefix_affinity",
    "disaggregated": "least_predicted_completion",
    "elastic": "threshold_trigger",
    "sessions": "prefix_affinity",
}
WORDS: dict[What, str] = {
    "routing": "(a) routing only",
    "prefix": "(b) prefix cache, preemption",
    "disaggregated": "(c) disaggregation",
    "elastic": "(d) elastic plans",
    "sessions": "(e) sessions",
}


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        output_tokens: mean answer.
        load: share of what the fleet serves that arrives.
    """

    what: What
    requests: int
    instances: int
    engine: Engine = "compiled"
    output_tokens: float = 200.0
    load: float = 0.8


def table(full: bool, quick: bool) -> Iterator[Row]:
    """Features by engine, size and fleet."""
    for what in WORDS:
        for engine in ("compiled", "interpreted"):
            for requests in (SMALL,) if quick else (SMALL, LARGE):
                for instances in (8, 64):
                    if full or engine == "compiled" or requests == SMALL:
                        yield Row(what, requests, instances, engine)


SWEEPS: dict[str, tuple[Row, ...]] = {
    "against output length": tuple(
        Row("prefix", SMALL, 8, output_tokens=tokens) for tokens in (50, 100, 200, 400, 800, 1600)
    ),
    "against instances": tuple(
        Row("prefix", SMALL * max(n // 64, 1), n) for n in (4, 8, 16, 32, 64, 128, 256, 512)
    ),
}


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="without a million requests")
    options.add_argument("--full", action="store_true", help="a million, interpreted, too")
    options.add_argument("--only", choices=WORDS, help="the rows of one feature")
    for hidden in ("--draw", "--row", "--trace"):
        options.add_argument(hidden, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.draw:
        trace_of(_row(chosen.draw)).save(chosen.trace)
        return
    if chosen.row:
        print(json.dumps(run(_row(chosen.row), chosen.trace)))
        return
    print(f"machine: {os.cpu_count()} x {_processor()}, Python {platform.python_version()}")
    if not chosen.only:
        _print_compiling()
    print(f"\n{MODEL} on H100s, one GPU an instance, ~1,000 tokens in, 200 out, seed {SEED}; "
          f"(b) with {TIGHT_KV_TOKENS:,} KV tokens an instance")  # fmt: skip
    _print_rows([r for r in table(chosen.full, chosen.quick) if chosen.only in (None, r.what)])
    if not chosen.only:
        for name, rows in SWEEPS.items():
            print(f"\ncost {name}, (b)")
            _print_rows(rows)


def _row(text: str) -> Row:
    return Row(**json.loads(text))


def _processor() -> str:
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _print_rows(rows: list[Row] | tuple[Row, ...]) -> None:
    print(f"{'':<30}{'requests':>10}{'inst':>5} {'policy':<12}{'out':>6}{'req/CPU-s':>11}"
          f"{'tokens/CPU-s':>14}{'events/req':>11}{'preempt':>9}{'cached':>8}{'moved':>7}{'plans':>6}"
          f"{'MiB':>7}")  # fmt: skip
    for row in rows:
        print(_line(row, _in_a_process(row)), flush=True)


def _line(row: Row, found: dict[str, float]) -> str:
    return (
        f"{WORDS[row.what]:<30}{row.requests:>10,}{row.instances:>5} {row.engine:<12}"
        f"{row.output_tokens:>6.0f}{found['rate']:>11,.0f}{found['tokens']:>14,.0f}"
        f"{found['events']:>11.1f}{found['preemptions']:>9,.0f}{found['cached']:>8.0%}"
        f"{found['moved']:>7,.0f}{found['plans']:>6.0f}{found['mib']:>7,.0f}"
    )


def _in_a_process(row: Row) -> dict[str, float]:
    text = json.dumps(asdict(row))
    with tempfile.TemporaryDirectory() as folder:
        place = ["--trace", f"{folder}/trace.npz"]
        subprocess.run([sys.executable, __file__, "--draw", text, *place], check=True)
        command = [sys.executable, __file__, "--row", text, *place]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def _print_compiling() -> None:
    for parts in (1, 2):
        with tempfile.TemporaryDirectory() as empty:
            cold, warm = _compile_into(empty, parts), _compile_into(empty, parts)
        print(
            f"kernel, {parts} process(es): compiled in {cold[0]:.1f} s ({cold[1]:.1f} s of "
            f"processor time), loaded from disk in {warm[0]:.1f} s"
        )


def _compile_into(directory: str, parts: int) -> tuple[float, float]:
    code = (
        "from pathlib import Path; import sys\n"
        "from sandbox.kernel import jit, program\n"
        "from sandbox.native.cache import CodeCache\n"
        "jit.kernel_cache = lambda: CodeCache(Path(sys.argv[1]) / 'kernel')\n"
        "missing = [name for name in sys.argv[2:] if name in jit.entries_to_compile()]\n"
        "if missing: from sandbox.kernel.compiler import main; main(missing)\n"
        "else: jit.entry_addresses()"
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


def trace_of(row: Row) -> Trace:
    """The row's traffic, at its load of what its fleet was measured to serve."""
    from workloads import chat

    from sandbox.replay import capacity_rps

    def draw(requests: int, rate_rps: float) -> Trace:
        return chat(
            requests, rate_rps, seed=SEED, output_tokens=row.output_tokens,
            prefixes=row.what in ("prefix", "sessions"), closed=row.what == "sessions",
        )  # fmt: skip

    open_row = Row("routing" if row.what == "sessions" else row.what, 0, 8)
    most = capacity_rps(draw(4000, 100.0), cluster_of(open_row)) * row.instances / 8
    return draw(row.requests, row.load * most)


def cluster_of(row: Row) -> ClusterSpec:
    """H100s, in the shape the row is about."""
    from sandbox.cluster import ClusterSpec

    spec: dict[str, Any] = {
        "name": "bench", "model": MODEL, "pool": [{"gpu": "H100", "count": row.instances}],
        "engine": {"enable_prefix_caching": row.what in ("prefix", "sessions")},
    }  # fmt: skip
    if row.what == "disaggregated":
        half = row.instances // 2
        spec["replica"] = [
            {"pool": 0, "tp": 1, "role": "prefill", "count": half},
            {"pool": 0, "tp": 1, "role": "decode", "count": row.instances - half},
        ]
    if row.what == "elastic":
        spec["pool"][0]["spot"] = True
        spec["switch"] = {"start_s": 5.0}
    return ClusterSpec.model_validate(spec)


def setup_of(row: Row, trace: Trace) -> Setup:
    """The simulation, with GPUs that come and go where plans are elastic."""
    from workloads import coming_and_going

    from sandbox.capacity import pair
    from sandbox.simulation import Setup

    cluster = cluster_of(row)
    if row.what != "elastic":
        return Setup(trace, cluster, seed=SEED)
    nodes = coming_and_going(row.instances, 2.0 * trace.span_s, seed=SEED)
    return Setup(trace, cluster, pair(cluster, nodes), seed=SEED)


def run(row: Row, path: str) -> dict[str, float]:
    """Simulate a drawn trace, laying it out included: rates per second of processor time.

    What depends on the trace alone (its tree of prefixes) is made once before, as in a search.
    """
    from evolver.library import read
    from sandbox.engine import load_policy
    from sandbox.replay import default_policy
    from sandbox.simulation import build
    from sandbox.verifier import verify
    from telemetry.trace import Trace

    trace = Trace.load(path)
    name = POLICIES[row.what]
    policy, setup = load_policy(verify(read(name), name), engine=row.engine), setup_of(row, trace)
    build(setup, policy, default_policy())
    runs = [
        _simulate(row, lambda: build(setup, policy, default_policy()))
        for _ in range(1 if row.requests >= LARGE or row.engine == "interpreted" else 3)
    ]
    totals, spent = min(runs, key=lambda found: found[1])
    ended = int(totals["finished"] + totals["rejected"])
    return {
        "rate": ended / spent,
        "tokens": float(trace.output_tokens.sum()) / spent,
        "events": float(totals["handled"]) / max(ended, 1),
        "preemptions": float(totals["preemptions"]),
        "cached": float(totals["cached_tokens"]) / max(int(totals["prompt_tokens"]), 1),
        "moved": float(totals["transfers"]) if "transfers" in totals.dtype.names else 0.0,
        "plans": float(totals["plans"]),
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
    }


def _simulate(row: Row, lay_out: Callable[[], Any]) -> tuple[Any, float]:
    from sandbox.kernel.program import Program
    from sandbox.simulation import EVENTS_PER_CALL

    started = time.process_time()
    sim = lay_out()
    if row.what == "prefix":
        shapes = sim.shapes.copy()
        # as many requests fit whatever their length: answers, and histories of a turn and a half
        tokens = int(TIGHT_KV_TOKENS * (650.0 + 2.5 * row.output_tokens) / 1150.0)
        shapes["kv_tokens"], shapes["kv_blocks"] = tokens, tokens // 16
        sim = sim._replace(shapes=shapes)
    program = Program(sim)
    program.start()
    while program.run(EVENTS_PER_CALL):
        pass
    return program.sim.totals[0], time.process_time() - started


if __name__ == "__main__":
    main()
