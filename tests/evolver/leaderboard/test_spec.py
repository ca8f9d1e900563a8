"""Scenario files say everything, and what does not fit is refused with the place."""

import pytest
from small_scenario import FILE

from evolver import library
from evolver.errors import ExperimentRefused
from evolver.leaderboard.reading import (
    changed,
    checked,
    overlaid,
    read_scenario,
    scenario_names,
)
from sandbox.techniques import TECHNIQUES


@pytest.mark.parametrize("name", scenario_names())
def test_every_file_and_every_control_of_it_can_be_read(name):
    spec = read_scenario(name)
    assert spec.name == name
    for control in spec.control:
        changed(spec, control.changes, control.name)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"metrics": {}}, "wrong at metrics"),
        ({"rate_rps": 1.0}, "one of load and rate_rps"),
        ({"decides": ["rout"]}, "no hook rout"),
        ({"system": "slang"}, "names the policy slang"),
        ({"traffic": [{"requests": 400}]}, "one of profile, file and drawn"),
        ({"system": None, "technique": "sipipe"}, "cluster without it"),
        ({"load": float("inf")}, "wrong at load"),
        ({"parameters": {"A": float("nan")}}, r"wrong at parameters\.A"),
        ({"control": [{**FILE["control"][0], "changes": {"lode": 1}}]}, "control alike.*at lode"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_place(wrong, words):
    with pytest.raises(ExperimentRefused, match=words):
        checked({**FILE, **wrong}, "small")


def test_a_control_changes_what_it_names_and_nothing_else():
    spec = checked(FILE, "small")
    other = changed(spec, spec.control[0].changes, "alike")
    assert other.traffic[0].drawn.prompt.sigma == 0.0
    assert other.traffic[0].drawn.prompt.median == 400
    assert (other.metric, other.cluster) == (spec.metric, spec.cluster)


def test_changes_reach_into_lists_by_number_and_not_beyond():
    assert overlaid({"a": [1, {"b": 2}]}, {"a.1.b": 3}) == {"a": [1, {"b": 3}]}
    with pytest.raises(ExperimentRefused, match="count from 0"):
        overlaid({"a": [1]}, {"a": {"1": 2}})


def test_a_name_that_is_not_there_is_answered_with_what_is(tmp_path):
    with pytest.raises(ExperimentRefused, match="technique-sipipe"):
        read_scenario("nowhere")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("schema = [", "not TOML"),
        ("cluster." + "a." * 5000 + "a = 1", "nested more than"),
        ("x = " + "[" * 5000, "not TOML"),
        ("#" * (1 << 19), "give a TOML file"),
    ],
)
def test_a_hostile_file_is_refused_in_a_sentence(tmp_path, text, words):
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(ExperimentRefused, match=words):
        read_scenario(tmp_path / "x.toml")


def test_every_system_of_the_library_and_every_technique_has_a_scenario():
    about = {read_scenario(name).about for name in scenario_names()}
    combined = {"nsa"}  # what fsa makes faster, and tried with it
    assert {*library.systems(), *(one.name for one in TECHNIQUES)} - combined <= about
