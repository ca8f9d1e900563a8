"""How true the simulator is to measured serving: untuned, calibrated, and leave-one-group-out.

    python benchmarks/fidelity.py                     # everything that is there
    python benchmarks/fidelity.py --engine trtllm     # rows of another engine, its own tables
    python benchmarks/fidelity.py --write             # also write sandbox/profiles/terms.json

Replayed are per-request timings of real vLLM runs (`--runs`, skipped when absent) and the measured
rows that aiconfigurator-core ships (needs the `profiles` extra, skipped without). A group is one
model, GPU and load; leave-one-group-out fits a system's terms to its other loads only. A real run
is a group of its own, so its host terms come from the other runs on that GPU.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.calibrate import WEIGHT_TTFT, from_timings
from sandbox.calibration import Terms
from sandbox.cluster import EngineSpec
from sandbox.fitting import fit
from sandbox.one_engine import serve
from sandbox.profiles import Profile, load_profile
from sandbox.profiles.profile import HOST_TERMS, TERMS
from telemetry.engine_timings import EngineTimings, read_timings

Floats = NDArray[np.float64]
Errors = dict[str, float]  # by metric, signed

ROOT = Path(__file__).resolve().parents[1]
TERMS_FILE = ROOT / "sandbox" / "profiles" / "terms.json"
METRICS = ("ttft", "tpot", "e2e")
VARIANTS = ("untuned", "calibrated", "held out")
MEMORY_SHARE = 0.9  # of GPU memory, for the engine; the shipped profiles count with the same
WANTED = {"ttft": 0.15, "tpot": 0.05, "e2e": 0.05}


@dataclass(frozen=True, slots=True)
class Scored:
    """Errors of one row or run under each variant; `measured` in seconds, `share` its statistic."""

    gpu: str
    model: str
    tp: int
    load: str
    statistic: str
    measured: Errors
    errors: dict[str, Errors]


@dataclass(frozen=True, slots=True)
class System:
    """One replica's rows, scored, and the terms that all of them give."""

    scored: list[Scored]
    terms: Terms
    engine: str
    rows: int

    @property
    def key(self) -> tuple[str, str, int]:
        """GPU, model, TP."""
        first = self.scored[0]
        return first.gpu, first.model, first.tp


class Loops:
    """Closed-loop rows of one system, simulated; a run under the same terms is done once."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self.rows = rows
        self._traces = [row.trace() for row in rows]
        self._known: dict[tuple[object, ...], Floats] = {}

    def times(self, profile: Profile, k: int) -> Floats:
        """Mean time to first token, per output token and end to end, in seconds."""
        key = (k, *(getattr(profile, name) for name in TERMS))
        if key not in self._known:
            row = self.rows[k]
            served = serve(profile, self._traces[k], row.engine_spec())
            ttft, tpot = float(np.nanmean(served.ttft_s)), float(np.nanmean(served.tpot_s))
            gaps = (row.e2e_s - row.ttft_s) / row.tpot_s
            self._known[key] = np.array([ttft, tpot, ttft + tpot * gaps])
        return self._known[key]

    def logs(self, profile: Profile, k: int) -> Floats:
        """ln(simulated / measured) of the three."""
        row = self.rows[k]
        return np.asarray(np.log(self.times(profile, k) / [row.ttft_s, row.tpot_s, row.e2e_s]))

    def fitted(self, profile: Profile, chosen: Sequence[int]) -> Profile:
        """The profile fitted to these rows and to no other."""
        weights = np.array([WEIGHT_TTFT, 1.0, 1.0])
        return fit(
            profile, lambda p: np.concatenate([weights * self.logs(p, k) for k in chosen])
        )


def score_system(task: tuple[Profile, list[Any]]) -> System:
    """All variants of one system's rows."""
    profile, rows = task
    loops, every = Loops(rows), range(len(rows))
    halves = [every[::2], every[1::2]]
    half_fits = [loops.fitted(profile, half) for half in halves]
    scored = []
    for k, row in enumerate(rows):
        others = [j for j in every if rows[j].load != row.load]
        variants = {
            "untuned": profile,
            "calibrated": half_fits[1 - k % 2],
            "held out": loops.fitted(profile, others),
        }
        measured = {"ttft": row.ttft_s, "tpot": row.tpot_s, "e2e": row.e2e_s}
        errors = {
            name: dict(zip(METRICS, np.expm1(loops.logs(p, k)).tolist(), strict=True))
            for name, p in variants.items()
        }
        scored.append(Scored(*row.system, row.load, "mean", measured, errors))
    terms = Terms.of(loops.fitted(profile, list(every)))
    return System(scored, terms, rows[0].engine, len(rows))


def silicon_systems(engine: str, workers: int) -> list[System]:
    """The measured rows of the wheel; empty, saying so, without it."""
    try:
        import build_profiles
        import profile_models
        import silicon_rows
    except ImportError as error:
        print(f"silicon_sample.csv skipped: {error.name} is missing; the profiles extra has it\n")
        return []
    from sandbox.profiles.catalog import profile_of_row

    rows, left_out = silicon_rows.read_rows(engine)
    print(f"silicon_sample.csv: {len(rows)} rows of {engine} replayed as closed loops; left out:")
    for reason, count in left_out.most_common():
        print(f"  {count:5} {reason}")
    logging.disable(logging.WARNING)  # the wheel says at length which fallback rows it loads
    tasks = []
    known = {gpu.name: gpu for gpu in build_profiles.gpus()}
    for (gpu, name, tp), mine in silicon_rows.systems(rows):
        model = silicon_rows.tables_of(gpu, name)
        oracle = build_profiles.Oracle(gpu, model, tp, engine)
        built = build_profiles.build_row(known[gpu], name, tp, oracle, model)
        limit = profile_models.memory(model, tp).context_limit_tokens
        tasks.append((profile_of_row(built, limit), mine))
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return pool.map(score_system, tasks, chunksize=1)


def run_systems(folder: Path) -> list[System]:
    """The real runs; empty, saying so, without them."""
    if not folder.is_dir():
        print(f"real runs skipped: there is no folder {folder}\n")
        return []
    runs = [_real_run(path) for path in sorted(folder.glob("*/*/requests.jsonl"))]
    return [_held_out(run, runs) for run in runs]


@dataclass(frozen=True, slots=True)
class _Run:
    profile: Profile
    measured: EngineTimings
    spec: EngineSpec
    fitted: Terms
    load: str
    engine: str


def _real_run(path: Path) -> _Run:
    meta = json.loads(path.with_name("meta.json").read_text())
    settings = meta["engine_kwargs"]
    gpu = path.parents[1].name.replace("_", "-")
    profile = load_profile(gpu, meta["model"], settings["tensor_parallel_size"], terms=False)
    spec = EngineSpec(
        max_num_seqs=settings["max_num_seqs"],
        max_num_batched_tokens=settings["max_num_batched_tokens"],
    )
    measured = read_timings(path)
    _check_memory(path.with_name("config.json"), settings["tensor_parallel_size"])
    found = from_timings(profile, measured, spec)
    load = f"{len(measured)} requests, {measured.trace.rate_rps:.0f}/s"
    return _Run(profile, measured, spec, found.terms, load, f"vllm {meta['vllm_version']}")


def _check_memory(path: Path, tp: int) -> None:
    """The run held as many KV blocks as the profile: the same share of as many GPUs."""
    instance = json.loads(path.read_text())["nodes"][0]["instances"][0]
    if (instance["npu_mem"]["mem_util"], instance["num_npus"]) != (MEMORY_SHARE, tp):
        raise SystemExit(f"{path} had other KV memory than the profile; give its tokens here.")


def _held_out(run: _Run, runs: list[_Run]) -> System:
    """A run under host terms of the other runs on its GPU, their medians.

    Host terms belong to host and engine; factors belong to a model's kernels and its parallel
    degree, and another model's run says nothing about them, least of all about all-reduce.
    """
    profile, others = run.profile, [r for r in runs if r is not run]
    others = [r for r in others if r.profile.gpu == profile.gpu]
    found = {
        name: float(np.median([getattr(r.fitted, name) for r in others]))
        for name in HOST_TERMS
        if others
    }
    variants = {
        "untuned": profile,
        "calibrated": run.fitted.applied(profile),
        "held out": profile.calibrated(**found),
    }
    rows = np.arange(1, len(run.measured), 2)  # the fit has seen the others
    served = {name: serve(p, run.measured.trace, run.spec) for name, p in variants.items()}
    scored = []
    for name, statistic in (("mean", np.mean), ("p50", np.median), ("p99", _p99)):
        real = {m: float(statistic(getattr(run.measured, f"{m}_s")[rows])) for m in METRICS}
        errors = {
            v: {m: float(statistic(getattr(t, f"{m}_s")[rows])) / real[m] - 1 for m in METRICS}
            for v, t in served.items()
        }
        scored.append(
            Scored(profile.gpu, profile.model, profile.tp, run.load, name, real, errors)
        )
    return System(scored, run.fitted, run.engine, len(run.measured))


def _p99(values: Floats) -> float:
    return float(np.percentile(values, 99))


def groups(systems: list[System]) -> Iterator[tuple[tuple[str, str, str], list[Scored]]]:
    """Means by (model, GPU, load), all tensor-parallel degrees of a load together."""
    means = [s for system in systems for s in system.scored if s.statistic == "mean"]
    for group in dict.fromkeys((s.model, s.gpu, s.load) for s in means):
        yield group, [s for s in means if (s.model, s.gpu, s.load) == group]


def typical(scored: Sequence[Scored], variant: str, metric: str, signed: bool = False) -> float:
    """Median error of a group's rows."""
    values = [s.errors[variant][metric] for s in scored]
    return float(np.median(values if signed else np.abs(values)))


def print_groups(systems: list[System]) -> None:
    """One line a group: signed errors of each variant."""
    head = "  ".join(f"{v:>20}" for v in VARIANTS)
    print(f"\nsigned error in %: TTFT TPOT E2E {'':30}{head}")
    for (model, gpu, load), scored in groups(systems):
        cells = "  ".join(
            "".join(f"{100 * typical(scored, v, m, signed=True):+7.1f}" for m in METRICS)
            for v in VARIANTS
        )
        print(f"{gpu:12} {model:18} {load:24} {len(scored)} rows {cells}")
    for scored in (s for system in systems for s in system.scored if s.statistic != "mean"):
        cells = "  ".join("".join(f"{100 * scored.errors[v][m]:+7.1f}" for m in METRICS)
                          for v in VARIANTS)  # fmt: skip
        load = f"{scored.load} {scored.statistic}"
        print(f"{scored.gpu:12} {scored.model:18} {load:24}        {cells}")


def print_systems(systems: list[System]) -> None:
    """Per system: median absolute errors and the terms."""
    head = "  ".join(f"{v:>18}" for v in VARIANTS)
    print(f"\nmedian absolute error in %: TTFT TPOT E2E {'':9}{head}   terms")
    for system in systems:
        gpu, model, tp = system.key
        means = [s for s in system.scored if s.statistic == "mean"]
        cells = "  ".join("".join(f"{100 * typical(means, v, m):6.1f}" for m in METRICS)
                          for v in VARIANTS)  # fmt: skip
        t = system.terms
        print(f"{gpu:12} {model:18} TP{tp} {system.engine:11} {cells}   step "
              f"{t.step_overhead_ps / 1e9:.2f} ms, sequence {t.sequence_overhead_ps / 1e6:.0f} us, "
              f"request {t.request_overhead_ps / 1e9:.0f} ms, all-reduce {t.all_reduce_scale:.2f}, "
              f"compute {t.compute_scale:.2f}, decode {t.decode_scale:.2f}, "
              f"context {t.context_scale:.2f}")  # fmt: skip


def print_medians(systems: list[System]) -> None:
    """Over groups: what is required."""
    found = list(groups(systems))
    print(f"\nmedian over {len(found)} groups of the absolute error; required held out")
    for metric in METRICS:
        cells = "  ".join(
            f"{v} {100 * np.median([typical(s, v, metric) for _, s in found]):5.1f} %"
            for v in VARIANTS
        )
        print(f"  {metric.upper():5} {cells}  (required {100 * WANTED[metric]:.0f} %)")


def differential(systems: list[System]) -> Floats:
    """|error| of the log of a ratio of end-to-end times: one system, users once and twice."""
    errors = []
    for system in systems:
        rows = [s for s in system.scored if s.statistic == "mean" and " c" in s.load]
        for a, b in combinations(rows, 2):
            shape_a, users_a = a.load.split(" c")
            shape_b, users_b = b.load.split(" c")
            if shape_a == shape_b and int(users_b) in (2 * int(users_a), int(users_a) / 2):
                one, two = (np.log1p(s.errors["held out"]["e2e"]) for s in (a, b))
                errors.append(abs(float(one - two)))
    return np.array(errors)


def print_differential(systems: list[System]) -> float:
    """The number that evidence uses, with its spread."""
    errors = differential(systems)
    if not len(errors):
        return float("nan")
    median, p90 = (float(np.percentile(errors, q)) for q in (50, 90))
    print(f"\ndifferential error (ratio of E2E at n and 2 n users of one system, held out, "
          f"{len(errors)} pairs): median {median:.1%}, p90 {p90:.1%}")  # fmt: skip
    return median


def write_terms(systems: list[System]) -> None:
    """sandbox/profiles/terms.json: terms of every shipped profile that was measured."""
    rows = []
    for system in systems:
        gpu, model, tp = system.key
        means = [s for s in system.scored if s.statistic == "mean"]
        held = {m: round(typical(means, "held out", m), 4) for m in METRICS}
        rows.append({"gpu": gpu, "model": model, "tp": tp, "engine": system.engine,
                     "rows": system.rows, "held_out_error": held,
                     **system.terms.model_dump()})  # fmt: skip
    rows = [row for row in rows if not row["model"].endswith("-fp4")]
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    source = ("Fitted by benchmarks/fidelity.py to measured serving rows of aiconfigurator-core "
              "0.12.0 (NVIDIA, Apache-2.0) and to per-request timings of vLLM runs published with "
              "LLMServingSim 2.0 (MIT); errors are ours.")  # fmt: skip
    text = f'{{\n "schema": 1,\n "source": {json.dumps(source)},\n "terms": [\n{lines}\n ]\n}}\n'
    TERMS_FILE.write_text(text, encoding="utf-8")
    print(f"\n{TERMS_FILE.relative_to(ROOT)}: terms of {len(rows)} profiles")


def main() -> int:
    """Replay, fit, print; 1 when a required median is missed."""
    formatter = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--runs", type=Path, default=ROOT.parent / "shared" / "fidelity")
    parser.add_argument("--engine", choices=("vllm", "trtllm", "sglang"), default="vllm")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write the shipped terms anew")
    chosen = parser.parse_args()
    systems = silicon_systems(chosen.engine, chosen.workers)
    if chosen.engine == "vllm":
        systems += run_systems(chosen.runs)
    if not systems:
        print("Nothing to compare with.")
        return 0
    print_groups(systems)
    print_systems(systems)
    print_medians(systems)
    print_differential(systems)
    if chosen.write:
        write_terms(systems)
    found = [s for _, s in groups(systems)]
    missed = [m for m in METRICS
              if np.median([typical(s, "held out", m) for s in found]) > WANTED[m]]  # fmt: skip
    if missed:
        print(f"\nmissed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
