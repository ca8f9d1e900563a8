"""The search task of this project: policies for LLM serving, scored by the simulator.

Candidates are verified here and scored in locked-down processes of a worker pool; nothing of a
candidate runs in this process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from typing import Protocol

from evolver.guardrails import guardrails
from evolver.rungs import rungs_of
from evolver.serving_evidence import best_rival, evidence_lines
from evolver.task import (
    Description,
    Gate,
    Job,
    OnDone,
    Program,
    Refusal,
    Refused,
    Results,
    Rung,
    Split,
    WindowResult,
    nobody,
)
from sandbox.scenario import unit_of
from sandbox.scores import WORST_OBJECTIVE_S, Candidate, WindowScore
from sandbox.source import PolicySource
from sandbox.windows import Windows

_SCOPES = (
    frozenset({"route", "route_decode"}),
    frozenset({"priority", "admit", "evict", "prewarm", "branches", "tune"}),
    frozenset({"should_reschedule", "schedule", "migrate"}),
)
_PREDICTED = frozenset(
    {
        "Request.predicted_output_tokens", "Request.predicted_output_error",
        "Instance.predicted_remaining_tokens", "Instance.kv_predicted_tokens",
        "Running.predicted_remaining_tokens",
    }
)  # fmt: skip


class Pool(Protocol):
    """What this task needs of `sandbox.worker.WorkerPool`."""

    def evaluate(
        self,
        jobs: Sequence[tuple[Candidate, Sequence[str]]],
        on_done: Callable[[int, list[WindowScore]], None],
    ) -> list[list[WindowScore]]:
        """Scores of each job, one per window, in order; never raises for a candidate.

        Each job's are handed to `on_done` with its index as soon as they are there.
        """


class ServingTask:
    """Search for serving policies on the windows of a trace.

    Args:
        pool: scores candidates on the scenarios of `windows` by name.
        description: objective and windows in words and numbers.
        hooks: those that the windows exercise; a policy with others is refused. None allows all.
    """

    worst_objective: float = WORST_OBJECTIVE_S

    def __init__(
        self,
        pool: Pool,
        windows: Windows,
        description: Description,
        hooks: Collection[str] | None = None,
    ) -> None:
        self._pool = pool
        self._windows = windows
        self._description = description
        self._hooks = hooks
        self._cost = {scenario.name: len(scenario.trace) for scenario in windows.scenarios}

    def describe(self) -> Description:
        """Objective and windows, in words and numbers."""
        return self._description

    def windows(self, split: Split) -> tuple[str, ...]:
        """Names of the windows of one split, each followed by those of its second seed."""
        return self._windows.with_repeats(getattr(self._windows, split.value))

    def cascade(self) -> tuple[Rung, ...]:
        """A probe, then training windows in blocks."""
        return self._rungs

    @cached_property
    def _rungs(self) -> tuple[Rung, ...]:
        return rungs_of(self._windows)

    def variants(self) -> tuple[str, ...]:
        """Training windows at other rates and lengths, in bursts, with other capacity."""
        return tuple(scenario.name for scenario in self._windows.variants)

    def doubts(self, program: Program) -> tuple[str, ...]:
        """Sealed windows with worse predictions of lengths and with none, for who reads them."""
        read: frozenset[str] = getattr(program, "fields_read", frozenset())
        if read.isdisjoint(_PREDICTED):
            return ()
        return tuple(scenario.name for scenario in self._windows.doubts)

    def unit(self, window: str) -> str:
        """The window itself, whatever it is called with other conditions."""
        return unit_of(window)

    def cost(self, window: str) -> int:
        """Requests to simulate, those of the warm-up included."""
        return self._cost[window]

    def verify(self, text: str, name: str) -> Program | Refused:
        """The verified policy, or the verifier's words."""
        from sandbox.verifier import PolicyRefused, verify

        try:
            source = verify(text, name)
        except PolicyRefused as refused:
            reasons = refused.refusals
            return Refused(tuple(Refusal(r.line, r.code, r.reason, r.mend) for r in reasons))
        return self.admitted(source)

    def admitted(self, source: PolicySource) -> Program | Refused:
        """A verified policy, unless it has a hook that no window exercises."""
        unproven = sorted(set(source.hooks) - set(self._hooks or source.hooks))
        if unproven:
            return Refused(tuple(self._unproven(hook) for hook in unproven))
        return source

    def _unproven(self, hook: str) -> Refusal:
        return Refusal(
            1,
            "unproven-hook",
            f"No window exercises {hook}, so nothing could be proved about it.",
            f"Leave it out; hooks that count here: {', '.join(sorted(self._hooks or ()))}.",
        )

    def evaluate(self, jobs: Sequence[Job], on_done: OnDone = nobody) -> list[list[WindowResult]]:
        """Scores from the pool; any fault is passed on and counts as the worst case."""
        batch = [(candidate_of(job), job.windows) for job in jobs]
        answers: list[list[WindowResult]] = [[] for _ in jobs]

        def done(index: int, scores: list[WindowScore]) -> None:
            answers[index] = [result_of(score) for score in scores]
            on_done(index, answers[index])

        self._pool.evaluate(batch, done)
        return answers

    def niche(self, program: Program, results: Results) -> tuple[int, ...]:
        """Scopes with its own hooks; fuel, reconfigurations an hour and busiest share in bins."""
        hooks = set(getattr(program, "hooks", ()))
        scopes = sum(1 << bit for bit, scope in enumerate(_SCOPES) if hooks & scope)
        fuel = _octave(_mean(results, "fuel_per_decision")) // 2
        hours = _total(results, "total_s") / 3600.0
        moves = _total(results, "reconfigurations")
        often = 1 + _octave(moves / hours) // 2 if moves and hours else 0
        busiest = math.floor(10 * min(_mean(results, "busiest_share"), 1.0))
        return (scopes, fuel, often, busiest)

    def score_lines(self, results: Results, rivals: Sequence[Results] = ()) -> tuple[str, ...]:
        """Where the time went, by cause and window, and where the rivals do better."""
        best = best_rival(rivals)
        gates = self.gates(results, best) if best is not None else ()
        return evidence_lines(results, rivals, gates)

    def gates(self, candidate: Results, human: Results) -> tuple[Gate, ...]:
        """What latency must not be bought with, measured against a human's policy."""
        return guardrails(candidate, human, self._windows.all[0].cluster)


def candidate_of(job: Job) -> Candidate:
    """The policy of a job with its constants, as plain data."""
    return Candidate(job.program.annotated(), dict(job.parameters))


def result_of(score: WindowScore) -> WindowResult:
    """A score as searches read it; any fault is one of the whole window."""
    fault = score.fault
    if fault is None and score.faults:
        fault = f"{score.faults} faulty decisions"
    return WindowResult(
        score.window,
        score.objective,
        dict(score.metrics),
        fault,
        score.fingerprint,
        score.remarks,
    )


def _known(result: WindowResult, metric: str) -> bool:
    return math.isfinite(result.metrics.get(metric, math.nan))


def _values(results: Results, metric: str) -> Iterable[float]:
    return (r.metrics[metric] for _, r in sorted(results.items()) if _known(r, metric))


def _total(results: Results, metric: str) -> float:
    return math.fsum(_values(results, metric))


def _mean(results: Results, metric: str) -> float:
    values = list(_values(results, metric))
    return math.fsum(values) / len(values) if values else 0.0


def _octave(value: float) -> int:
    """0 for less than one, then one bin for each doubling."""
    return math.floor(math.log2(value)) + 1 if value >= 1 else 0
