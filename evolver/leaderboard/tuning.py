"""Tunes the constants of a scenario's entrants, the promising ones longer; those as written first.

Everybody gets the same first settings on a part of the training windows; those who are best then,
and the scenario's own system, get many more on all of them. Nothing else is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from evolver.archive import geometric_mean
from evolver.journal import first_fault
from evolver.task import Job, Results, WindowResult
from evolver.tuner import Tuning, axes_of
from sandbox.source import PolicySource


@dataclass(frozen=True, slots=True)
class Entry:
    """A policy with constants, and its objective where they were chosen; lower is better."""

    name: str
    source: PolicySource
    parameters: Mapping[str, float]
    objective: float = math.inf


class Marking(Protocol):
    """What tuning needs of a task."""

    def mark(self, jobs: Sequence[Job]) -> list[list[WindowResult]]:
        """Objectives and faults of each job, one per window, in order."""


@dataclass(frozen=True, slots=True)
class Tries:
    """Settings of constants that are tried.

    Attributes:
        each: of every entrant, on the screen. more: of the best, on all training windows.
        finalists: how many those are.
    """

    each: int = 6
    more: int = 24
    finalists: int = 4


def objective(task: Marking, entry: Entry, windows: Sequence[str]) -> float:
    """Geometric mean over windows; infinite where a decision failed."""
    return objectives(task, [entry], windows)[0]


def objectives(task: Marking, entries: Sequence[Entry], windows: Sequence[str]) -> list[float]:
    """The same of several."""
    return [_mean(results) for results in results_of(task, entries, windows)]


def results_of(task: Marking, entries: Sequence[Entry], windows: Sequence[str]) -> list[Results]:
    """What each entry did on each window."""
    jobs = [Job(entry.source, entry.parameters, tuple(windows)) for entry in entries]
    return [{r.window: r for r in results} for results in task.mark(jobs)]


def tune(task: Marking, entry: Entry, windows: Sequence[str], tries: int, seed: int) -> Entry:
    """The entry with the best of so many settings on these windows, its own among them."""
    best = Entry(entry.name, entry.source, entry.parameters, objective(task, entry, windows))
    if not axes_of(entry.source.tunables):
        return best
    tuning = Tuning(entry.source.tunables, entry.parameters, seed)
    for _ in range(tries - 1):
        if tuning.over:
            break
        asked = Entry(entry.name, entry.source, tuning.ask())
        value = objective(task, asked, windows)
        tuning.tell(asked.parameters, (value,))
        if value < best.objective:
            best = Entry(entry.name, entry.source, asked.parameters, value)
    return best


def tune_all(
    task: Marking,
    entries: Sequence[Entry],
    screen: Sequence[str],
    training: Sequence[str],
    tries: Tries,
    seed: int,
    always: Sequence[str] = (),
) -> list[Entry]:
    """Every entry tuned, the best on the training windows first; `always` are finalists, too."""
    first = [tune(task, one, screen, tries.each, seed + k) for k, one in enumerate(entries)]
    first = _sorted(_measured(task, first, entries, training))
    chosen = {entry.name for entry in first[: tries.finalists]} | set(always)
    return _sorted(
        [
            tune(task, one, training, tries.more, seed + 1000 + k) if one.name in chosen else one
            for k, one in enumerate(first)
        ]
    )


def _measured(
    task: Marking, tuned: Sequence[Entry], written: Sequence[Entry], training: Sequence[str]
) -> list[Entry]:
    """The better on all training windows of each entry tuned on the screen and as written."""
    both = [*tuned, *written]
    values = objectives(task, both, training)
    count = len(tuned)
    found = []
    for k, one in enumerate(tuned):
        best = one if values[k] <= values[count + k] else written[k]
        found.append(
            Entry(one.name, one.source, best.parameters, min(values[k], values[count + k]))
        )
    return found


def _sorted(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda one: (one.objective, one.name))


def _mean(results: Results) -> float:
    if first_fault(results) is not None:
        return math.inf
    return geometric_mean([result.objective for result in results.values()])
