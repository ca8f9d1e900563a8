"""Kendall's tau with ties, its pooling, and what goes into both simulators."""

import math

import numpy as np
import peer_traces
import pytest
import rank_order
import rank_policies
import rank_statistics
from hypothesis import given
from hypothesis import strategies as st

numbers = st.lists(st.floats(0.01, 100.0), min_size=2, max_size=8)


def test_tau_is_one_for_the_same_order_and_minus_one_for_the_reverse():
    compare = rank_statistics.compare
    assert compare([1, 2, 3], [10, 20, 30]).tau == 1.0
    assert compare([1, 2, 3], [30, 20, 10]).tau == -1.0


def test_tau_b_with_ties_is_the_textbook_value():
    # 5 of 6 pairs told apart by each side, 4 concordant: the untied formula would say 4 / 6
    found = rank_statistics.compare([1, 1, 2, 3], [1, 2, 3, 3], joint=False)
    assert (found.score, found.ours, found.theirs) == (4, 5, 5)
    assert found.tau == pytest.approx(4 / 5)


def test_a_pair_within_the_error_on_one_side_is_judged_on_neither():
    compare = rank_statistics.compare
    assert compare([1.0, 1.04, 2.0], [2.0, 1.0, 4.0], error=0.05).ours == 2
    assert compare([1.0, 1.04, 2.0], [2.0, 1.0, 4.0], error=0.05, joint=False).theirs == 3
    assert math.isnan(compare([1.0, 1.01], [1.0, 3.0], error=0.05).tau)


@given(values=numbers)
def test_a_ranking_never_contradicts_itself(values):
    found = rank_statistics.compare(values, values, error=0.05)
    assert found.discordant == 0
    assert found.score == found.ours == found.theirs


def test_the_interval_holds_the_pooled_tau_and_is_seeded():
    rng = np.random.default_rng(0)
    cells = [rank_statistics.compare(rng.random(6), rng.random(6)) for _ in range(9)]
    low, high = rank_statistics.interval(cells, 1)
    assert low <= rank_statistics.total(cells).tau <= high
    assert rank_statistics.interval(cells, 1) == (low, high)


def test_a_pair_ranked_the_other_way_is_named_by_who_prefers_what():
    found = rank_statistics.discordant_pairs(["a", "b"], [1.0, 2.0], [2.0, 1.0], 0.05)
    assert found == [("a", "b")]


def test_every_policy_passes_the_verifier():
    from sandbox.verifier import verify

    pairs = rank_policies.PAIRS
    assert len(pairs) >= 5
    assert all("route" in verify(pair.source, pair.name).hooks for pair in pairs)


def test_affine_step_times_are_the_same_in_both_forms():
    from sandbox.profiles import load_profile

    profile = rank_order.affine(load_profile("H100", "Llama-3.1-8B", 1))
    new, base = profile.step_ps([(1, 0)], 0, 0), profile.step_ps([], 1, 0)
    slope = profile.step_ps([], 1, 1) - base
    tables = peer_traces.affine_tables(new, base, slope)
    prefill = np.interp(700, tables["prefill_isl"], tables["prefill_ttft_ms"])
    decode = np.interp(9000, tables["decode_active_kv_tokens"], tables["decode_itl"][:, 0])
    assert profile.step_ps([(500, 64), (200, 0)], 30, 9000) / 1e9 == pytest.approx(prefill + decode)
