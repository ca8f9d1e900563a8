"""Ratios between entrants: orientation, units, and what too few windows say."""

from __future__ import annotations

import math

import pytest

from evolver.leaderboard.ratios import Ratio, mean_log, pooled, ratio

WINDOWS = [f"w{k:02d}" for k in range(10)]


def test_half_the_time_is_twice_as_good() -> None:
    theirs = {name: 2.0 + k for k, name in enumerate(WINDOWS)}
    ours = {name: value / 2.0 for name, value in theirs.items()}
    found = ratio(theirs, ours)
    assert (found.mean, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))
    assert (found.units, found.verdict) == (10, "better")
    assert ratio(ours, theirs).verdict == "worse"


def test_seeds_of_one_window_count_once() -> None:
    theirs = dict.fromkeys(WINDOWS, 1.0) | {"w00+seed": 1.0}
    ours = dict.fromkeys(WINDOWS, 1.0) | {"w00": 0.5, "w00+seed": 2.0}
    assert ratio(theirs, ours).mean == pytest.approx(1.0)
    assert ratio(theirs, ours).units == 10


def test_few_windows_have_no_interval() -> None:
    few = dict.fromkeys(WINDOWS[:7], 1.0)
    found = ratio(few, few)
    assert math.isnan(found.low)
    assert found.verdict == "even"


def test_what_is_no_positive_number_is_left_out() -> None:
    theirs = dict.fromkeys(WINDOWS, 1.0)
    ours = dict(theirs, w03=math.nan, w04=0.0)
    assert ratio(theirs, ours).units == 8
    assert math.isnan(ratio(theirs, {}).mean)


def test_means_are_geometric() -> None:
    assert math.exp(mean_log({"w00": 1.0, "w01": 4.0})) == pytest.approx(2.0)
    both = [Ratio(4.0, 3.0, 5.0, 9), Ratio(1.0, 0.9, 1.1, 9), Ratio(math.nan, 0.0, 0.0, 0)]
    assert pooled(both) == pytest.approx(2.0)
