"""Which proposer is asked: by what it earned for its cost, with nobody left out for ever."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolver.bandit import FLOOR, Bandit

ARMS = ["model", "mutator", "tuner"]


def test_at_first_all_are_equal():
    assert Bandit().weights(ARMS) == pytest.approx([1 / 3] * 3)


def test_who_earns_more_for_less_is_asked_more():
    bandit = Bandit()
    for arm, share, gain in (("model", 0.2, 0.1), ("mutator", 0.02, 0.1), ("tuner", 0.2, 0.0)):
        bandit.spend(arm, share)
        bandit.earn(arm, gain, 0.0)
    model, mutator, tuner = bandit.weights(ARMS)
    assert mutator > model > tuner


@given(st.lists(st.tuples(st.sampled_from(ARMS), st.floats(0, 1), st.floats(-1, 1)), max_size=30))
def test_weights_are_chances_with_a_floor(history):
    bandit = Bandit()
    for arm, share, gain in history:
        bandit.spend(arm, share)
        bandit.earn(arm, gain, gain)
    weights = bandit.weights(ARMS)
    assert sum(weights) == pytest.approx(1.0)
    assert min(weights) >= FLOOR / len(ARMS) - 1e-12


def test_what_was_earned_long_ago_counts_less():
    bandit = Bandit()
    bandit.spend("model", 0.1)
    bandit.earn("model", 0.5, 0.0)
    bandit.spend("tuner", 0.1)
    before = bandit.weights(ARMS)[0]
    for _ in range(30):
        bandit.forget()
    assert bandit.weights(ARMS)[0] < before
    assert bandit.account("model").total_gain == 0.5


def test_equal_seeds_draw_alike():
    bandit = Bandit()
    draws = [[bandit.draw(ARMS, random.Random(s)) for s in range(20)] for _ in range(2)]
    assert draws[0] == draws[1]
    assert set(draws[0]) == set(ARMS)


def test_what_was_spent_before_the_choice_began_is_held_against_nobody():
    bandit = Bandit()
    bandit.spend("tuner", 0.2)
    bandit.begin()
    bandit.earn("model", 0.1, 0.0)
    _, mutator, tuner = bandit.weights(ARMS)
    assert tuner == mutator
    assert bandit.account("tuner").total_share == 0.2
