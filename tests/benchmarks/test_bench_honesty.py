"""Intervals on simulated windows of generated traffic hold the effect that is known for them."""

import functools

import bench_honesty
import pytest

WINDOWS, DRAWS = 160, 600


@functools.cache
def effects():
    return bench_honesty.population(bench_honesty.COMPARISONS[1], WINDOWS)


@pytest.mark.parametrize("windows", [10, 20])
def test_nominal_95_percent_intervals_hold_a_known_effect_in_92_to_98_of_100(windows):
    assert 0.92 <= bench_honesty.coverage(effects(), windows, DRAWS) <= 0.98


def test_a_run_among_equals_judges_and_finds_no_winner():
    verdict = bench_honesty.equal_run(seed=0)
    assert verdict.outcome is bench_honesty.Outcome.NO_CHANGE
    assert verdict.tried > 0
