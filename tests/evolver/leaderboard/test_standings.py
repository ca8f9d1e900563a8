"""What contests' results say: who is best, whether evolution won, and why not."""

from __future__ import annotations

import math
from typing import Any

import pytest

from evolver.leaderboard.board import document_of, report_of
from evolver.leaderboard.contest import Effort
from evolver.leaderboard.reading import read_scenario, scenario_names
from evolver.leaderboard.spec import ScenarioSpec
from evolver.leaderboard.standings import added, best_tuned, own, places
from sandbox.report import Fold, Grid, Report

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


def test_one_whose_decisions_fail_does_not_win(spec: ScenarioSpec) -> None:
    found = result(spec, 1.0)
    found["evolved"]["row"] = row(1.0, "index in route")
    said = added(found)
    assert said is not None
    assert not said.won
    assert "index in route" in said.reason


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


def faulty(spec: ScenarioSpec) -> dict[str, Any]:
    found = result(spec, None)
    broken = {"hooks": ["route"], "written": row(4.0, "index"), "tuned": row(4.0, "index")}
    found["entrants"]["broken"] = broken
    return found


def texts(report: Report) -> list[str]:
    """Every cell of every table, folded ones too."""
    blocks, found = list(report.blocks), []
    while blocks:
        block = blocks.pop()
        if isinstance(block, Fold):
            blocks += block.blocks
        elif isinstance(block, Grid):
            found += [*block.columns, *(cell.text for line in block.rows for cell in line)]
    return found


def test_an_entrant_whose_decisions_fail_has_no_ratio_of_its_own(spec: ScenarioSpec) -> None:
    sound = result(spec, None)
    sound["entrants"]["broken"] = {"hooks": ["route"], "written": row(2.0), "tuned": row(2.0)}
    fails = places([faulty(spec)], {spec.name: spec})
    once = places([faulty(spec), sound], {spec.name: spec})
    (broken,) = [one for one in fails if one.name == "broken"]
    assert math.isnan(broken.tuned)
    assert broken.faulty == 1
    (mended,) = [one for one in once if one.name == "broken"]
    assert (mended.tuned, mended.faulty) == (pytest.approx(2.0), 1)
    cells = texts(report_of([spec], [faulty(spec)], Effort(), 1.0))
    assert cells.count("faults") == 4, "twice by policy, twice by scenario"
    assert "2.00 (faults in 1)" in texts(report_of([spec], [faulty(spec), sound], Effort(), 1.0))


def test_what_was_not_done_has_no_column(spec: ScenarioSpec) -> None:
    whole = texts(report_of([spec], [result(spec, 1.0)], Effort(), 1.0))
    assert {"tuned", ">tuned", "ours tuned", "evolved saves beside it"} <= set(whole)
    written = result(spec, None) | {"evolved": None}
    for entrant in written["entrants"].values():
        del entrant["tuned"]
    quick = texts(report_of([spec], [written], Effort(None, 0.0), 1.0))
    assert not [one for one in quick if "tuned" in one or "evolved" in one]


def test_scenarios_that_failed_stand_beside_the_others(spec: ScenarioSpec) -> None:
    failed = {"elsewhere": "too short; lengthen it"}
    for results in ([result(spec, 1.0)], []):
        assert "too short; lengthen it" in texts(report_of([spec], results, Effort(), 1.0, failed))
        assert document_of([spec], results, Effort(), 1.0, failed)["failed"] == failed
