import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.stats import (
    cluster_means,
    compare,
    gain_by_window,
    log_ratios,
    paired_bootstrap,
    relative_gain,
    sign_flip_p,
    student_t_quantile,
)

GAINS = [0.11, 0.08, 0.13, 0.02, 0.09, 0.15, 0.07, 0.1]
ratios = st.lists(st.floats(-2.0, 2.0), min_size=2, max_size=20)


def test_equal_seeds_give_equal_intervals():
    assert paired_bootstrap(GAINS, seed=3) == paired_bootstrap(GAINS, seed=3)


def test_a_steady_gain_is_improved_and_its_mirror_is_worse():
    assert paired_bootstrap(GAINS, seed=1).improved
    assert paired_bootstrap([-x for x in GAINS], seed=1).worse


@given(ratios, st.integers(0, 9))
def test_the_interval_is_finite_and_holds_the_mean(values, seed):
    interval = paired_bootstrap(values, seed=seed, resamples=200)
    assert math.isfinite(interval.low)
    assert math.isfinite(interval.high)
    assert interval.low <= interval.mean <= interval.high


@pytest.mark.parametrize(("freedom", "value"), [(1, 12.7062047), (2, 4.3026527), (9, 2.2621572)])
def test_quantiles_of_student_t_are_those_of_the_tables(freedom, value):
    assert student_t_quantile(0.975, freedom) == pytest.approx(value, abs=1e-7)


@given(st.permutations(GAINS))
def test_the_order_of_windows_changes_nothing(values):
    assert compare(values, seed=1) == compare(GAINS, seed=1)


@given(ratios)
def test_swapping_the_policies_mirrors_the_mean(values):
    there, back = (paired_bootstrap([s * v for v in values], seed=0) for s in (1, -1))
    assert there.mean == -back.mean


def test_more_candidates_at_the_gate_make_a_wider_interval():
    one, ten = (paired_bootstrap(GAINS, seed=1, comparisons=n) for n in (1, 10))
    assert ten.low < one.low
    assert ten.confidence == pytest.approx(0.995)


@pytest.mark.parametrize("windows", [8, 20])
def test_coverage_of_a_nominal_95_percent_interval(windows):
    rng = np.random.default_rng(5)
    hits = sum(
        interval.low <= 0.0 <= interval.high
        for interval in (
            paired_bootstrap(rng.exponential(size=windows) - 1.0, seed=i, resamples=800)
            for i in range(400)
        )
    )
    assert 0.92 <= hits / 400 <= 0.98


def test_policies_that_behave_equally_win_at_most_one_time_in_forty():
    rng = np.random.default_rng(6)
    wins = sum(
        paired_bootstrap(rng.normal(0.0, 0.1, 12), seed=i, resamples=800).improved
        for i in range(1000)
    )
    assert wins / 1000 <= 0.04


def test_no_difference_at_all_is_no_improvement():
    interval = paired_bootstrap([0.0] * 8, seed=1)
    assert (interval.low, interval.high, interval.improved) == (0.0, 0.0, False)


def test_seeds_of_one_window_count_once():
    reference = {"a0": 2.0, "a1": 2.0, "b0": 3.0}
    candidate = {"a0": 1.0, "a1": 2.0, "b0": 3.0}
    gains = gain_by_window(reference, candidate, {"a0": "a", "a1": "a", "b0": "b"})
    assert gains == pytest.approx([math.log(2.0) / 2.0, 0.0])


def test_cluster_means_keep_the_order_of_first_appearance():
    assert cluster_means([1.0, 5.0, 3.0], ["x", "y", "x"]).tolist() == [2.0, 5.0]


def test_sign_flip_is_exact_for_few_windows():
    assert sign_flip_p(GAINS) == 2.0**-8
    assert sign_flip_p([0.0] * 8) == 1.0
    assert sign_flip_p([1.0, -1.0]) == 0.75


@given(ratios.filter(lambda values: len(values) <= 9))
def test_sign_flips_are_all_counted(values):
    least = sum(values) - 1e-12 * sum(map(abs, values))
    patterns = itertools.product((1.0, -1.0), repeat=len(values))
    reached = sum(
        sum(s * v for s, v in zip(signs, values, strict=True)) >= least for signs in patterns
    )
    assert sign_flip_p(values) == pytest.approx(reached / 2 ** len(values), abs=2**-9)


def test_sampled_sign_flips_agree_with_exact_ones():
    values = np.random.default_rng(2).normal(0.1, 0.3, 32)
    pair = np.append(values, [0.0])  # a zero changes no sum, but makes it sampled
    assert sign_flip_p(pair) == pytest.approx(sign_flip_p(values), abs=0.01)


def test_relative_gain_is_the_share_saved():
    (ratio,) = log_ratios([2.0], [1.5])
    assert relative_gain(ratio) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: log_ratios([1.0], [1.0, 2.0]), "equal length"),
        (lambda: log_ratios([1.0], [0.0]), "positive and finite"),
        (lambda: paired_bootstrap([0.1], seed=0), "at least two windows"),
        (lambda: paired_bootstrap([0.1, math.nan], seed=0), "not finite"),
        (lambda: paired_bootstrap(GAINS, seed=0, confidence=1.5), "confidence"),
        (lambda: gain_by_window({"a": 1.0}, {"b": 1.0}, {}), "same runs"),
    ],
)
def test_input_that_proves_nothing_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
