"""Every system shows its effect on its scenario, and none where it must not.

All of them take minutes (`make test-effects`); a change is tried on a few that need no compiler.
"""

import math
import os
from pathlib import Path

import pytest
from small_scenario import NOTHING_NEW, scenario

from evolver.errors import ExperimentRefused
from evolver.leaderboard.effect_tables import report_of
from evolver.leaderboard.effects import Effect, effect_of, kept, ratio_of
from evolver.leaderboard.ground import load_scenario
from evolver.leaderboard.reading import scenario_names
from evolver.leaderboard.spec import Control, Metric
from sandbox.stats import MIN_WINDOWS

TRACES = Path(__file__).resolve().parents[3].parent / "shared" / "traces"
FEW = ("technique-fsa", "technique-unisparse")
WHOLE = "EVOLVER_EFFECTS" in os.environ
LOWER, HIGHER = (Metric(name="x", better=better) for better in ("lower", "higher"))


@pytest.mark.parametrize("name", scenario_names() if WHOLE else FEW)
def test_a_system_shows_its_effect_and_none_where_it_must_not(name):
    chosen = load_scenario(name)
    if chosen.spec.needs_files and not TRACES.is_dir():
        pytest.skip("the recorded traces are not here")
    effect = effect_of(chosen, traces=TRACES)
    assert effect.own.faults == 0
    if chosen.spec.expect is None:
        assert chosen.spec.differs, "nothing is expected: the file must say why"
    else:
        assert effect.own.units >= MIN_WINDOWS
        assert effect.shown, effect.own
    for control, found in effect.controls:
        assert kept(control, found, effect.own), (control.name, found)


def test_ratios_are_above_one_where_the_system_is_better_whatever_better_means():
    few, many = numbers([1.0, 2.0, 4.0]), numbers([2.0, 4.0, 8.0])
    assert ratio_of("a", LOWER, few, many).mean == pytest.approx(2.0)
    assert ratio_of("a", HIGHER, many, few).mean == pytest.approx(2.0)
    assert ratio_of("a", LOWER, many, few).high < 1.0


def test_windows_without_a_ratio_are_counted_unless_there_is_a_floor():
    some, none = numbers([2.0, 2.0, math.nan]), numbers([1.0, 0.0, 1.0])
    assert (ratio_of("a", LOWER, some, none).units, ratio_of("a", LOWER, some, none).left_out) == (
        1,
        2,
    )
    floored = Metric(name="x", better="higher", floor=0.5)
    assert ratio_of("a", floored, some, none).left_out == 1


def test_what_is_recorded_once_counts_once():
    few, many = numbers([1.0, 1.0, 1.0, 1.0]), numbers([2.0, 4.0, 2.0, 4.0])
    once = ratio_of("a", LOWER, few, many, ("w0", "w1", "w0", "w1"))
    alone = ratio_of("a", LOWER, few[:2], many[:2])
    assert (once.units, once.low) == (2, pytest.approx(alone.low))
    assert once.low < ratio_of("a", LOWER, few, many).low


def test_an_effect_needs_windows_enough_to_prove_anything():
    def of(windows):
        own = ratio_of("a", LOWER, numbers([1.0] * windows), numbers([2.0] * windows))
        return Effect(load_scenario("technique-fsa"), (own,), (), (), headlines=(own, own))

    assert of(MIN_WINDOWS).shown
    assert not of(MIN_WINDOWS - 1).shown
    assert "prove nothing" in str(report_of(of(MIN_WINDOWS - 1)).blocks)


@pytest.mark.parametrize(
    ("expect", "ratio", "fine"),
    [("even", 1.04, True), ("even", 0.9, False), ("worse", 0.9, True), ("worse", 1.1, False),
     ("less", 1.5, True), ("less", 2.5, False)],
)  # fmt: skip
def test_a_control_is_held_to_what_the_file_expects(expect, ratio, fine):
    control = Control(name="c", changes={}, expect=expect, why="made up for a test")
    own = ratio_of("a", HIGHER, numbers([2.0]), numbers([1.0]))
    found = ratio_of("a", HIGHER, numbers([ratio]), numbers([1.0]))
    assert kept(control, found, own) is fine


def test_a_policy_that_decides_nothing_here_and_an_unknown_metric_are_refused():
    with pytest.raises(ExperimentRefused, match="decides none of migrate"):
        effect_of(scenario(decides=["migrate"], baseline={"policy": "default"}))
    with pytest.raises(ExperimentRefused, match=r"choose from .*ttft_p99_s"):
        effect_of(scenario(metric={"name": "ttft_p42_s"}, **NOTHING_NEW))


def test_twice_the_engines_sustain_about_twice_the_rate():
    rate = {"name": "slo_attainment", "better": "higher", "sustains": 0.9}
    twice = {"ratio": 2.0, "kind": "about", "of": "rate", "against": "half", "metric": rate}
    half = {"policy": "default", "cluster": {"pool.0.count": 1}}
    promised = {"slo": {"ttft_s": 0.5, "tpot_s": 0.02, "e2e_s": 4.0}}
    more = {"0.requests": 1600}
    changes = {"cluster": promised, "headline": [twice], "control": [], "traffic": more}
    effect = effect_of(scenario(**NOTHING_NEW | {"baseline": half}, **changes))
    assert 1.6 < effect.headlines[0].mean < 2.6


def numbers(values):
    return [{"x": value, "faults": 0.0} for value in values]
