"""Tuning of entrants: never worse than as written where it is tuned, the same tries for all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from evolver.leaderboard.tuning import Entry, Tries, tune, tune_all
from evolver.task import Job, WindowResult
from sandbox.verifier import verify

TEXT = '''"""{0}."""
BEST = 10.0  # tune: 0 .. 100


def route(request, instances, memory):
    return instances[0].id if BEST > {1} else -1
'''


class Bowl:
    """A task whose objective is the distance of BEST from 70; it counts jobs."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}

    def mark(self, jobs: Sequence[Job]) -> list[list[WindowResult]]:
        found = []
        for job in jobs:
            self.asked[job.program.claim] = self.asked.get(job.program.claim, 0) + 1
            value = 1.0 + abs(job.parameters.get("BEST", 0.0) - 70.0)
            fault = "index in route" if "broken" in job.program.claim else None
            found.append([WindowResult(name, value, fault=fault) for name in job.windows])
        return found


def entry(name: str, least: float = 0.0) -> Entry:
    source = verify(TEXT.format(name, least))
    return Entry(name, source, source.parameters())


@pytest.fixture
def bowl() -> Bowl:
    return Bowl()


def test_tuning_finds_better_constants(bowl: Bowl) -> None:
    found = tune(bowl, entry("plain"), ("w00",), 40, 1)
    assert found.objective < 31.0
    assert abs(found.parameters["BEST"] - 70.0) < 30.0


def test_one_try_is_as_written(bowl: Bowl) -> None:
    assert tune(bowl, entry("plain"), ("w00",), 1, 1).parameters == {"BEST": 10.0}


def test_a_faulty_entry_is_last_and_has_no_objective(bowl: Bowl) -> None:
    both = [entry("broken"), entry("plain", 1.0)]
    found = tune_all(bowl, both, ("w00",), ("w00", "w01"), Tries(4, 12, 1), 1)
    assert [one.name for one in found] == ["plain", "broken"]
    assert math.isinf(found[1].objective)


def test_all_get_some_tries_and_the_best_get_more() -> None:
    counted = Bowl()
    entries = [entry(name, k) for k, name in enumerate(("a", "b", "c", "named"))]
    tune_all(
        counted,
        entries,
        ("w00",),
        ("w00", "w01"),
        Tries(4, 12, 1),
        1,
        ["named"],
    )
    counts = sorted(counted.asked.items(), key=lambda pair: pair[1])
    assert counts[0][1] == counts[1][1] < counts[2][1]
    assert counted.asked["named."] > counts[0][1]
