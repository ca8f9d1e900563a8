"""Evolution from a tuned library: hooks are crossed, and what enters was chosen elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from evolver.leaderboard.evolving import Breeding, crossed, evolve
from evolver.leaderboard.tuning import Entry
from evolver.task import (
    Description,
    Gate,
    Job,
    Program,
    Results,
    Rung,
    Split,
    WindowResult,
)
from sandbox.verifier import verify

ROUTER = '''"""A router."""
WEIGHT = 1.0  # tune: 0 .. 10


def route(request, instances, memory):
    best, least = -1, INF
    for inst in instances:
        cost = WEIGHT * inst.queued_requests
        if cost < least:
            best, least = inst.id, cost
    return best
'''
QUEUE = '''"""Short prompts first."""
SCALE = 2.0  # tune: 1 .. 4


def priority(request, instance, memory):
    return SCALE * request.prompt_tokens
'''
TRAINING, VALIDATION = ("w00", "w01"), ("w02",)


class Counting:
    """Two hooks halve the time, and each further constant takes a hundredth off in training."""

    worst_objective = 1e6

    def __init__(self, later: float = 1.0) -> None:
        self.later = later
        self.windows_asked: set[str] = set()

    def describe(self) -> Description:
        return Description("made up", "seconds")

    def windows(self, split: Split) -> tuple[str, ...]:
        return {Split.TRAINING: TRAINING, Split.VALIDATION: VALIDATION}.get(split, ())

    def cascade(self) -> tuple[Rung, ...]:
        return (Rung("training", TRAINING),)

    def variants(self) -> tuple[str, ...]:
        return ()

    def unit(self, window: str) -> str:
        return window

    def cost(self, window: str) -> int:
        del window
        return 1

    def verify(self, text: str, name: str) -> Program:
        return verify(text, name)

    def evaluate(self, jobs: Sequence[Job], on_done: object = None) -> list[list[WindowResult]]:
        found = []
        for job in jobs:
            self.windows_asked.update(job.windows)
            both = "priority" in job.program.canonical and "route" in job.program.canonical
            value = (0.5 if both else 1.0) - 0.01 * min(len(job.program.tunables), 8)
            later = value * self.later if both else value
            found.append([
                WindowResult(name, value if name in TRAINING else later)
                for name in job.windows
            ])  # fmt: skip
            if callable(on_done):
                on_done(len(found) - 1, found[-1])
        return found

    def mark(self, jobs: Sequence[Job]) -> list[list[WindowResult]]:
        return self.evaluate(jobs)

    def niche(self, program: Program, results: Results) -> tuple[int, ...]:
        del results
        return (len(program.tunables),)

    def score_lines(self, *_: object) -> tuple[str, ...]:
        return ()

    def gates(self, *_: object) -> tuple[Gate, ...]:
        return ()


def entry(name: str, text: str) -> Entry:
    source = verify(text, name)
    return Entry(name, source, source.parameters(), 0.99)


@pytest.fixture
def tuned() -> list[Entry]:
    return [entry("router", ROUTER), entry("queue", QUEUE)]


HOOKS = frozenset({"route", "priority"})
BREEDING = Breeding(TRAINING, TRAINING, (*TRAINING, *VALIDATION), 1, 12, 1)


def test_hooks_that_help_are_taken_over(tuned: list[Entry]) -> None:
    task = Counting()
    found, *_ = crossed(task, tuned, HOOKS, BREEDING)
    assert set(found.source.hooks) == HOOKS
    assert found.name == "router + queue.priority"
    assert found.parameters["SCALE"] == 2.0


def test_a_search_enters_what_is_better_than_the_library(tuned: list[Entry]) -> None:
    task = Counting()
    found = evolve(task, tuned, HOOKS, BREEDING)
    assert found.entry is not None
    assert found.gain > 0.4
    assert task.windows_asked == {*TRAINING, *VALIDATION}
    again = evolve(Counting(), tuned, HOOKS, BREEDING)
    assert again.entry is not None
    assert again.entry.source.canonical == found.entry.source.canonical


def test_nothing_enters_that_is_worse_where_it_is_chosen(tuned: list[Entry]) -> None:
    found = evolve(Counting(30.0), tuned, HOOKS, BREEDING)
    assert found.entry is None
    assert found.library in {"router", "queue"}
