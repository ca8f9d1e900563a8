"""Scores candidates: each on each window once, faults as the worst case, all of it budgeted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from evolver.archive import geometric_mean
from evolver.budget import Budget
from evolver.journal import EventKind, Journal
from evolver.progress import SILENT, Progress
from evolver.task import Job, Program, Results, Task, WindowResult

Keep = Callable[[str, Sequence[WindowResult]], None]
"""Takes the results of each job, with the candidate's digest, the moment they are there."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A program with the parameters to run it with."""

    program: Program
    parameters: Mapping[str, float]
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", self.program.digest(self.parameters))


@dataclass(slots=True)
class Evaluator:
    """The only way to a score: remembers results, so that nothing is simulated twice.

    Args:
        task: what scores.
        budget: what it costs.
        journal: told after each chunk.
        known: results that a record holds, by digest and window.
        keep: takes each new result.
        progress: told while it runs.
    """

    task: Task
    budget: Budget
    journal: Journal
    known: dict[tuple[str, str], WindowResult] = field(default_factory=dict)
    keep: Keep = lambda _, __: None
    progress: Progress = SILENT
    _run: set[tuple[str, str]] = field(default_factory=set, init=False)

    def score(
        self, trials: Sequence[Trial], windows: Sequence[str], rung: str, until: float = 1.0
    ) -> list[Results]:
        """Results of the leading trials that the budget, up to a share of it, pays for."""
        done = 0
        while count := self._affordable(trials[done:], windows, until):
            self._run_all(trials[done : done + count], windows, rung)
            done += count
        return self._found(trials[:done], windows)

    def must(self, trials: Sequence[Trial], windows: Sequence[str], rung: str) -> list[Results]:
        """Results of all trials: nothing can be said without them, so they are paid first."""
        self._run_all(trials, windows, rung)
        return self._found(trials, windows)

    def prove(self, trials: Sequence[Trial], windows: Sequence[str], rung: str) -> list[Results]:
        """Results of all trials, beside the search's budget."""
        self._run_all(trials, windows, rung, proof=True)
        return self._found(trials, windows)

    def forget(self, digest: str, windows: Sequence[str]) -> None:
        """Nobody will ask for these again: a long run holds the results of its members only."""
        for window in windows:
            self.known.pop((digest, window), None)
            self._run.discard((digest, window))

    def _found(self, trials: Sequence[Trial], windows: Sequence[str]) -> list[Results]:
        return [{w: self.known[trial.digest, w] for w in windows} for trial in trials]

    def cost(self, windows: Sequence[str]) -> int:
        """What the windows cost one candidate."""
        return sum(self.task.cost(window) for window in windows)

    def _affordable(self, trials: Sequence[Trial], windows: Sequence[str], until: float) -> int:
        """How many of the leading trials make the next chunk: all that the budget pays for.

        Under a limit in seconds the chunks shrink towards the end: it is kept within one candidate.
        """
        left, chunk, seen = self.budget.left(until), self.budget.chunk(until), set[str]()
        for index, trial in enumerate(trials):
            if trial.digest not in seen:
                cost = self.cost(self._missing(trial.digest, windows))
                left, chunk = left - cost, chunk - cost
            seen.add(trial.digest)
            if left < 0 or (chunk < 0 and index):
                return index
        return len(trials)

    def _missing(self, digest: str, windows: Sequence[str]) -> tuple[str, ...]:
        return tuple(w for w in windows if (digest, w) not in self._run)

    def _run_all(
        self, trials: Sequence[Trial], windows: Sequence[str], rung: str, *, proof: bool = False
    ) -> None:
        """Run what was not run yet; what a record knows is booked, and not run again."""
        pending = {trial.digest: trial for trial in trials}
        jobs = [
            Job(trial.program, trial.parameters, missing, digest)
            for digest, trial in pending.items()
            if (missing := self._missing(digest, windows))
        ]
        if not jobs:
            return
        self._run.update((job.digest, window) for job in jobs for window in job.windows)
        self._evaluate([job for j in jobs if (job := self._unknown(j)).windows], rung)
        cost = sum(self.cost(job.windows) for job in jobs)
        before_s = self.journal.seconds
        self.journal.write(EventKind.EVALUATED, rung=rung, jobs=len(jobs), cost=cost)
        self.budget.spend_runs(cost, self.journal.seconds - before_s, proof=proof)

    def _evaluate(self, jobs: Sequence[Job], rung: str) -> None:
        if not jobs:
            return
        done = 0
        self.progress.scoring(done, len(jobs), rung)

        def on_done(index: int, results: Sequence[WindowResult]) -> None:
            nonlocal done
            done += 1
            self._take(jobs[index], results)
            self.progress.scoring(done, len(jobs), rung)

        self.task.evaluate(jobs, on_done)

    def _unknown(self, job: Job) -> Job:
        windows = tuple(w for w in job.windows if (job.digest, w) not in self.known)
        return replace(job, windows=windows)

    def _take(self, job: Job, results: Sequence[WindowResult]) -> None:
        pairs = zip(job.windows, results, strict=True)
        checked = [self._checked(result, window) for window, result in pairs]
        self.known.update(((job.digest, result.window), result) for result in checked)
        self.keep(job.digest, checked)

    def _checked(self, result: WindowResult, window: str) -> WindowResult:
        """A fault, or an objective that is no positive number, is the worst case.

        What was not measured is left out: a record holds numbers only, and must say the same.
        """
        fault = result.fault
        worst = self.task.worst_objective
        if result.window != window:
            fault = f"answered for {result.window}"
        elif fault is None and not (math.isfinite(result.objective) and result.objective > 0):
            fault = f"objective is {result.objective}"
        objective = min(result.objective, worst) if fault is None else worst
        metrics = {name: v for name, v in result.metrics.items() if math.isfinite(v)}
        return replace(result, window=window, objective=objective, metrics=metrics, fault=fault)


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
