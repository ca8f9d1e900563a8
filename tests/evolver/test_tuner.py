"""Constant tuning: known optima, ranges, whole numbers, budgets."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolver.tuner import Axis, axes_of, tune


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
    start = {knob.name: knob.value for knob in knobs}
    calls = []

    def batch(several):
        calls.extend(several)
        return [score(parameters) for parameters in several]

    return tune(knobs, start, score(start), batch, seed=seed, tries=tries), calls


def test_a_known_optimum_is_found():
    best, _ = tuned()
    assert best.score < 0.02
    assert best.parameters["COUNT"] == pytest.approx(12, abs=1)


def test_one_constant_is_enough():
    knobs = [Knob("SLOPE", 0.9, 0.0, 1.0)]
    best, _ = tuned(knobs=knobs, tries=60, score=lambda p: (p["SLOPE"] - 0.3) ** 2)
    assert best.parameters["SLOPE"] == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("tries", [0, 1, 7, 30])
def test_tries_are_not_overdrawn(tries):
    best, calls = tuned(tries=tries)
    assert best.tried == len(calls) <= tries


def test_every_trial_stays_in_range_and_whole_where_it_must():
    _, calls = tuned(tries=60)
    assert all(k.low <= p[k.name] <= k.high for p in calls for k in KNOBS)
    assert all(p["COUNT"] == int(p["COUNT"]) for p in calls)


def test_equal_seeds_try_the_same():
    assert tuned(tries=40)[1] == tuned(tries=40)[1] != tuned(tries=40, seed=2)[1]


def test_faults_do_not_win_and_do_not_stop_it():
    best, _ = tuned(score=lambda p: math.inf if p["SLOPE"] < 0.5 else miss(p))
    assert best.parameters["SLOPE"] >= 0.5
    assert best.score < miss({"SLOPE": 0.9, "SPAN_S": 1.0, "COUNT": 2})


def test_a_budget_that_ends_keeps_the_best_so_far():
    best = tune(KNOBS, {k.name: k.value for k in KNOBS}, 9.0, lambda b: [1.0], seed=1, tries=50)
    assert (best.score, best.tried) == (1.0, 1)


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
