"""Prints what recorded answers of a model add to the search, at equal evaluations.

Run by `make bench-recorded`: the demo's fleet and traffic, five seeds of both. Each seed is
searched twice with as many evaluations: by mutator and tuner, and by them with the model whose
answers ship with the program. What each would deploy (its winner if proved, else the best human
policy) runs on a fresh trace that nobody has searched on. The answers were given to the traffic of
seed 1; on other seeds they are replies to another window of the same kind.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev

from evolver.budget import Limits
from evolver.cli.demo_model import RECORDING
from evolver.cli.demo_scene import FULL, problem
from evolver.evolution import evolve
from evolver.model_settings import ModelSettings
from evolver.problem import Problem
from evolver.recordings import read_recording
from evolver.run_start import Writers
from evolver.verdict import Outcome, Verdict
from evolver.written import written
from policy_store import PolicyStore
from sandbox.engine import load_policy
from sandbox.replay import replay
from sandbox.simulation import Setup
from sandbox.stats import student_t_quantile

FRESH = 1000  # added to the seed of the trace that nobody has seen


def main() -> None:
    """Search, deploy on fresh traces, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--evaluations", type=float, default=60.0)
    options = parser.parse_args()
    began_s, recording = time.monotonic(), read_recording(RECORDING)
    models = tuple(ModelSettings(name) for name in recording.models)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(f"{', '.join(recording.models)}, recorded {recording.date}; {options.evaluations:g} "
          f"evaluations; {machine}")  # fmt: skip
    print(f"{'seed':>4}{'without':>10}{'with':>10}{'less':>8}   mean E2E seconds on a fresh trace")
    gains = []
    for seed in range(1, options.seeds + 1):
        without, added = (
            deployed(seed, options.evaluations, writers)
            for writers in (Writers(), Writers(models, recording=recording))
        )
        gains.append(math.log(without / added))
        print(f"{seed:>4}{without:>10.3f}{added:>10.3f}{-math.expm1(-gains[-1]):>8.1%}", flush=True)
    half = student_t_quantile(0.975, len(gains) - 1) * stdev(gains) / math.sqrt(len(gains))
    low, middle, high = (-math.expm1(-(mean(gains) + side * half)) for side in (-1, 0, 1))
    print(f"mean {middle:.1%} less, 95 % interval over seeds {low:.1%} to {high:.1%}; "
          f"{time.monotonic() - began_s:.0f} s in all")  # fmt: skip


def deployed(seed: int, evaluations: float, writers: Writers) -> float:
    """Mean end-to-end seconds of what a search would deploy, on a fresh trace."""
    with tempfile.TemporaryDirectory() as folder, PolicyStore.open(Path(folder) / "s.db") as store:
        found = evolve(problem(FULL, seed), Limits(evaluations=evaluations), store, writers=writers)
    return on_fresh(problem(FULL, seed + FRESH), found.result.verdict)


def on_fresh(scene: Problem, verdict: Verdict) -> float:
    """The verdict's policy on another trace."""
    improved = verdict.outcome is Outcome.IMPROVED and verdict.winner is not None
    chosen = verdict.winner if improved and verdict.winner else verdict.best_human
    policy = load_policy(written(chosen.text, chosen.parameters), only=scene.hooks)
    setup = Setup(scene.trace, scene.cluster, scene.capacity, scene.mode, scene.seed)
    return replay(setup, [(chosen.name, policy)])[0].metrics.objective_s


if __name__ == "__main__":
    main()
