"""Who takes part: the open hooks only, each once, the scenario's own first."""

from __future__ import annotations

import pytest

from evolver.errors import ExperimentRefused
from evolver.leaderboard.entrants import Given, checked, entrants, group_of
from evolver.leaderboard.reading import read_scenario, scenario_names
from evolver.leaderboard.spec import ScenarioSpec

ROUTE = ("route",)
MINE = "def route(request, instances, memory):\n    return instances[1].id\n"


@pytest.fixture(scope="module")
def routing() -> ScenarioSpec:
    spec = read_scenario(scenario_names()[0])
    baseline = spec.baseline.model_copy(update={"policy": "least_loaded", "parameters": {}})
    changes = {"decides": ("route",), "system": "glia", "technique": None, "baseline": baseline}
    return spec.model_copy(update={**changes, "parameters": {}})


def test_entrants_keep_the_open_hooks_only(routing: ScenarioSpec) -> None:
    found = entrants(routing, ROUTE, [Given("mine", MINE)])
    assert [one.name for one in found[:2]] == ["glia", "least_loaded"]
    assert {hook for one in found for hook in one.source.hooks} == {"route"}
    assert "vtc" not in {one.name for one in found}
    assert found[-1].name == "mine"


def test_with_more_hooks_more_take_part(routing: ScenarioSpec) -> None:
    found = entrants(routing, ("route", "priority"))
    assert "vtc" in {one.name for one in found}
    assert {"route", "priority"} == {hook for one in found for hook in one.source.hooks}


def test_a_policy_that_is_another_again_takes_part_once(routing: ScenarioSpec) -> None:
    twice = [Given("mine", MINE), Given("again", '"""The same."""\n' + MINE)]
    names = [one.name for one in entrants(routing, ROUTE, twice)]
    assert "mine" in names
    assert "again" not in names


def test_constants_of_the_scenario_are_the_systems(routing: ScenarioSpec) -> None:
    (name, value), *_ = entrants(routing, ROUTE)[0].parameters.items()
    changed = routing.model_copy(update={"parameters": {name: value / 2.0}})
    assert entrants(changed, ROUTE)[0].parameters[name] == value / 2.0


def test_names_of_the_library_are_taken() -> None:
    with pytest.raises(ExperimentRefused, match="glia"):
        checked(Given("glia", MINE))


def test_groups_say_what_is_decided() -> None:
    assert group_of(["route", "priority"]) == "routes and queues"
