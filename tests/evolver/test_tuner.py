"""Constant tuning: known optima, ranges, whole numbers, budgets."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolver.tuner import MOST_AXES, PATIENCE, Axis, Tuning, axes_of


@dataclass(frozen=True)
class Knob:
    name: str
    value: float
    low: float
    high: float
    integer: bool = False


KNOBS = [
    Knob("SLOPE", 0.9, 0.0, 1.0),
    Knob("SPAN_S", 1.0, 0.01, 1000.0),
    Knob("COUNT", 2, 1, 30, True),
]


def miss(parameters):
    """Zero at SLOPE 0.3, SPAN_S 50, COUNT 12."""
    return (
        (parameters["SLOPE"] - 0.3) ** 2
        + math.log10(parameters["SPAN_S"] / 50.0) ** 2
        + ((parameters["COUNT"] - 12) / 10) ** 2
    )


def tuned(tries=200, seed=1, knobs=KNOBS, score=miss):
    """The best of so many tries, and all of them."""
    start = {knob.name: knob.value for knob in knobs}
    tuning, calls = Tuning(knobs, start, seed), []
    while len(calls) < tries and not tuning.over:
        parameters = tuning.ask()
        calls.append((score(parameters), parameters))
        tuning.tell(parameters, (calls[-1][0],))
    best = min(calls, key=lambda call: call[0])
    return best, [parameters for _, parameters in calls]


def test_a_known_optimum_is_found():
    (score, parameters), _ = tuned()
    assert score < 0.02
    assert parameters["COUNT"] == pytest.approx(12, abs=1)


def test_one_constant_is_enough():
    knobs = [Knob("SLOPE", 0.9, 0.0, 1.0)]
    (_, parameters), _ = tuned(knobs=knobs, tries=60, score=lambda p: (p["SLOPE"] - 0.3) ** 2)
    assert parameters["SLOPE"] == pytest.approx(0.3, abs=0.02)


def test_every_trial_stays_in_range_and_whole_where_it_must():
    _, calls = tuned(tries=60)
    assert all(k.low <= p[k.name] <= k.high for p in calls for k in KNOBS)
    assert all(p["COUNT"] == int(p["COUNT"]) for p in calls)


def test_equal_seeds_try_the_same():
    assert tuned(tries=40)[1] == tuned(tries=40)[1] != tuned(tries=40, seed=2)[1]


def test_faults_do_not_win_and_do_not_stop_it():
    (score, parameters), _ = tuned(score=lambda p: math.inf if p["SLOPE"] < 0.5 else miss(p))
    assert parameters["SLOPE"] >= 0.5
    assert score < miss({"SLOPE": 0.9, "SPAN_S": 1.0, "COUNT": 2})


def test_it_ends_when_nothing_gets_better():
    _, calls = tuned(tries=500, score=lambda _: 1.0)
    assert len(calls) < 100


def test_what_nobody_scored_counts_as_worst():
    tuning = Tuning(KNOBS, {knob.name: knob.value for knob in KNOBS}, 1)
    for _ in range(tuning.population * (PATIENCE + 1)):
        tuning.tell(tuning.ask(), None)
    assert tuning.over


def test_constants_without_a_range_stay():
    assert axes_of([Knob("FIXED", 1.0, 1.0, 1.0)]) == []


@given(
    st.floats(0.0, 1.0), st.sampled_from([(0.0, 1.0, False), (0.01, 99.0, False), (1, 64, True)])
)
def test_places_and_values_agree(unit, span):
    axis = Axis("X", *span)
    value = axis.to_value(unit)
    assert axis.low <= value <= axis.high
    assert axis.to_value(axis.to_unit(value)) == pytest.approx(value, rel=2e-3, abs=1e-6)


@pytest.mark.parametrize(
    "knob",
    [
        Knob("COUNT", 1.0, 0.0, 1e26, True),
        Knob("COUNT", 1.0, -(2.0**53), 2.0**53, True),
        Knob("SHARE", 1e29, 1e-300, 1e30),
        Knob("SHARE", 1.0, 1e-320, 5.0),
        Knob("SHARE", 0.0, -1e200, 1e200),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_range_without_measure_moves_within_its_bounds(knob):
    _, asked = tuned(knobs=[knob], tries=30, score=lambda p: abs(p[knob.name]))
    assert all(knob.low <= parameters[knob.name] <= knob.high for parameters in asked)


def test_of_very_many_constants_the_first_ones_move():
    knobs = [Knob(f"WEIGHT_{k}", 1.0, 0.0, 2.0) for k in range(390)]
    assert [axis.name for axis in axes_of(knobs)] == [knob.name for knob in knobs[:MOST_AXES]]
