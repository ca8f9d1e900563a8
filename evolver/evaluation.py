"""Scores candidates: each on each window once, faults as the worst case, all of it budgeted."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evolver.archive import geometric_mean
from evolver.budget import Budget
from evolver.task import Job, Program, Results, Task, WindowResult


@dataclass(frozen=True, slots=True)
class Trial:
    """A program with the parameters to run it with."""

    program: Program
    parameters: Mapping[str, float]

    @property
    def digest(self) -> str:
        """Identity of the pair."""
        return self.program.digest(self.parameters)


class Evaluator:
    """The only way to a score: remembers every result, so that nothing is simulated twice."""

    def __init__(self, task: Task, budget: Budget) -> None:
        self._task = task
        self._budget = budget
        self._known: dict[tuple[str, str], WindowResult] = {}

    def affordable(
        self, trials: Sequence[Trial], windows: Sequence[str], until: float = 1.0
    ) -> int:
        """How many of the leading trials the budget can pay for, up to a share of it."""
        left, seen = self._budget.runs_left(until), set[str]()
        for index, trial in enumerate(trials):
            if trial.digest not in seen:
                left -= len(self._missing(trial.digest, windows))
            seen.add(trial.digest)
            if left < 0:
                return index
        return len(trials)

    def evaluate(self, trials: Sequence[Trial], windows: Sequence[str]) -> list[Results]:
        """Results of each trial on the windows, in order; known ones cost nothing."""
        pending = {trial.digest: trial for trial in trials}
        jobs = [
            Job(trial.program, trial.parameters, missing)
            for digest, trial in pending.items()
            if (missing := self._missing(digest, windows))
        ]
        self._run(jobs)
        return [{w: self._known[trial.digest, w] for w in windows} for trial in trials]

    def _missing(self, digest: str, windows: Sequence[str]) -> tuple[str, ...]:
        return tuple(w for w in windows if (digest, w) not in self._known)

    def _run(self, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        started = time.monotonic()
        answers = self._task.evaluate(jobs)
        self._budget.spend_runs(sum(len(j.windows) for j in jobs), time.monotonic() - started)
        for job, results in zip(jobs, answers, strict=True):
            digest = job.program.digest(job.parameters)
            for window, result in zip(job.windows, results, strict=True):
                self._known[digest, window] = self._checked(result, window)

    def _checked(self, result: WindowResult, window: str) -> WindowResult:
        """A fault, or an objective that is no positive number, is the worst case."""
        fault = result.fault
        worst = self._task.worst_objective
        if result.window != window:
            fault = f"answered for {result.window}"
        elif fault is None and not (math.isfinite(result.objective) and result.objective > 0):
            fault = f"objective is {result.objective}"
        objective = min(result.objective, worst) if fault is None else worst
        return replace(result, window=window, objective=objective, fault=fault)


@dataclass(frozen=True, slots=True)
class Yardstick:
    """The best human objective of each window: what every candidate is measured against."""

    best: Mapping[str, float]

    @classmethod
    def of(cls, humans: Sequence[Results]) -> Yardstick:
        """The yardstick that these humans' results make."""
        windows = sorted(humans[0])
        return cls({w: min(results[w].objective for results in humans) for w in windows})

    def score(self, results: Results) -> float:
        """Geometric mean over the windows of `results` of objective over best human objective."""
        return geometric_mean(r.objective / self.best[w] for w, r in sorted(results.items()))
