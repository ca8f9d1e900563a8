"""The sequential test: false alarms stay below alpha under continuous looking, regressions show."""

import math
import random

import pytest

from serving_adapter.safety.sequential_test import BETS, FailureTest, LatencyTest, Wealth

ALPHA = 0.01
RUNS = 150
REQUESTS = 1500


def times(seed: int):
    """Lognormal times under a load that drifts and jumps, as a day does."""
    rng, level = random.Random(seed), 0.0
    for _ in range(REQUESTS):
        level = 0.995 * level + rng.gauss(0.0, 0.1) + (2.0 if rng.random() < 0.002 else 0.0)
        yield math.exp(level + rng.gauss(0.0, 0.7)), rng


def ever_alarms(seed: int, share: float, slower: float) -> bool:
    test = LatencyTest(share, effect=0.02)
    for time_s, rng in times(seed):
        control = rng.random() < share
        test.add(time_s if control else time_s * slower, control=control)
        if test.wealth.value >= 1 / ALPHA:
            return True
    return False


@pytest.mark.parametrize("slower", [1.0, 1.02])
def test_law_false_alarms_are_rare_however_often_one_looks(slower):
    """A policy as good as its control, or worse by the accepted effect, is looked at each time."""
    alarms = sum(ever_alarms(seed, 0.2, slower) for seed in range(RUNS))
    assert alarms <= 5  # a test at alpha exactly would pass this in 99.6 % of all seeds


def test_law_a_policy_better_than_its_control_is_left_alone():
    assert not any(ever_alarms(seed, 0.2, 0.7) for seed in range(20))


def test_a_policy_that_doubles_latency_is_found_out():
    assert sum(ever_alarms(seed, 0.2, 2.0) for seed in range(20)) >= 19


def test_a_good_past_does_not_hide_a_bad_present():
    """Without fresh stakes the wealth lost in the first part would have to be won back."""
    test, rng = LatencyTest(0.5, 0.02), random.Random(3)
    for index in range(4000):
        control = rng.random() < 0.5
        factor = 0.5 if index < 3000 else 3.0
        test.add(math.exp(rng.gauss(0.0, 0.7)) * (1.0 if control else factor), control=control)
    assert test.wealth.value >= 1 / ALPHA


@pytest.mark.parametrize(("rate", "found"), [(0.01, False), (0.2, True)])
def test_failures_beyond_the_accepted_ones_are_found_out(rate, found):
    test, rng = FailureTest(0.2, 0.02), random.Random(5)
    most = 0.0
    for _ in range(2000):
        control = rng.random() < 0.2
        test.add(not control and rng.random() < rate, control=control)
        most = max(most, test.wealth.value)
    assert (most >= 1 / ALPHA) is found


def test_law_the_wealth_of_a_fair_game_is_fair():
    """Over all outcomes of three fair bets the mean is the capital at the start."""
    total = 0.0
    for coins in range(8):
        wealth = Wealth()
        for toss in range(3):
            wealth.bet(0.5 if coins >> toss & 1 else -0.5)
        total += wealth.value
    assert total / 8 == pytest.approx(1.0)


def test_failed_requests_count_as_later_than_any():
    test, rng = LatencyTest(0.5, 0.02), random.Random(9)
    for _ in range(400):
        control = rng.random() < 0.5
        lost = not control and rng.random() < 0.5
        test.add(math.inf if lost else 1.0 + rng.random(), control=control)
    assert test.wealth.value >= 1 / ALPHA


def test_no_bet_risks_more_than_there_is():
    assert max(BETS) < 1.0
