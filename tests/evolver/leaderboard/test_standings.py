"""What contests' results say: who is best, whether evolution won, and why not."""

from __future__ import annotations

from typing import Any

import pytest

from evolver.leaderboard.board import document_of, report_of
from evolver.leaderboard.contest import Effort
from evolver.leaderboard.reading import read_scenario, scenario_names
from evolver.leaderboard.spec import ScenarioSpec
from evolver.leaderboard.standings import added, best_tuned, own, places

WINDOWS = [f"w{k:02d}" for k in range(10)]


@pytest.fixture(scope="module")
def spec() -> ScenarioSpec:
    return read_scenario(scenario_names()[0])


def row(value: float, fault: str | None = None) -> dict[str, Any]:
    objectives = {name: value * (1.0 + 0.01 * k) for k, name in enumerate(WINDOWS)}
    return {"parameters": {}, "training": value, "objectives": objectives, "fault": fault}


def result(spec: ScenarioSpec, evolved: float | None, **more: Any) -> dict[str, Any]:
    names = {spec.baseline.policy: 4.0, str(spec.system or "blis"): 3.0, "glia": 2.5}
    entrants = {
        name: {"hooks": ["route"], "written": row(value), "tuned": row(value - 0.5)}
        for name, value in names.items()
    }
    found = {
        "idea": "scaled", "library": "glia", "gain": 0.1, "candidates": 9,
        "name": "mutator-1", "text": "def route(request, instances, memory): ...",
        "row": None if evolved is None else row(evolved),
    }  # fmt: skip
    return {
        "scenario": spec.name, "hooks": ["route"], "windows": [9, 5, 10], "requests": 1000,
        "cpu_s": {"judging": 1.0}, "entrants": entrants, "evolved": found,
        "own": {"baseline": row(4.0)["objectives"], "written": row(2.0)["objectives"]}, **more,
    }  # fmt: skip


def test_the_best_is_the_best_tuned_one_that_works(spec: ScenarioSpec) -> None:
    found = result(spec, 1.0)
    assert best_tuned(found) == "glia"
    found["entrants"]["glia"]["tuned"] = row(2.0, "index in route")
    assert best_tuned(found) != "glia"


@pytest.mark.parametrize(
    ("evolved", "won", "words"),
    [(1.0, True, ""), (2.0, False, "no room"), (3.0, False, "worse"), (None, False, "candidates")],
)
def test_evolution_wins_over_the_best_only(
    spec: ScenarioSpec, evolved: float | None, won: bool, words: str
) -> None:
    found = added(result(spec, evolved))
    assert found is not None
    assert found.won is won
    assert words in found.reason
    assert bool(found.reason) is not won


def test_better_than_the_chosen_one_is_said(spec: ScenarioSpec) -> None:
    found = result(spec, 2.0)
    found["entrants"]["lucky"] = {"hooks": ["route"], "written": row(9.0), "tuned": row(1.9)}
    found["evolved"]["row"] = row(1.95)
    said = added(found)
    assert said is not None
    assert said.best == "lucky"
    assert "lucky" in said.reason
    assert said.over_chosen.low > 1.0


def test_own_ratio_is_turned_by_the_metric(spec: ScenarioSpec) -> None:
    for better, expected in (("lower", 2.0), ("higher", 0.5)):
        turned = spec.model_copy(
            update={"metric": spec.metric.model_copy(update={"better": better})}
        )
        found = own(result(spec, 1.0), turned)
        assert found is not None
        assert found.written.mean == pytest.approx(expected)


def test_places_count_wins(spec: ScenarioSpec) -> None:
    found = places([result(spec, 1.0)], {spec.name: spec})
    assert {one.name: one.wins for one in found}["glia"] == 1
    assert found[0].tuned >= found[-1].tuned


def test_report_and_document_hold_every_scenario(spec: ScenarioSpec) -> None:
    results = [result(spec, 1.0)]
    document = document_of([spec], results, Effort(), 1.0)
    assert document["won"] == {"won": 1, "of": 1}
    report = report_of([spec], results, Effort(), 1.0)
    assert spec.name in str(report.blocks)
