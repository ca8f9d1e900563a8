"""Which engine is silent: one that stopped, never one that is slow or hardly known."""

import pytest

from serving_adapter.gateway.silence import AWAY_S, ENOUGH_ANSWERS, Silence
from telemetry.engine_signals import EngineSignals


def known(wait_s: float, least_s: float = 30.0) -> Silence:
    one = Silence(least_s)
    for _ in range(ENOUGH_ANSWERS):
        one.answered(wait_s, 0.0)
    return one


@pytest.mark.parametrize(("wait_s", "patience_s"), [(0.2, 30.0), (12.0, 120.0)])
def test_it_may_be_silent_for_as_long_as_it_was_ever_slow(wait_s, patience_s):
    assert not known(wait_s).begins(0.0, patience_s)
    assert known(wait_s).begins(0.0, patience_s + 1.0)


def test_one_of_which_little_is_known_is_never_silent():
    one = Silence(30.0)
    one.answered(0.1, 0.0)
    assert not one.begins(0.0, 1e6)


@pytest.mark.parametrize("counter", ["prompt_tokens", "generation_tokens", "finished"])
def test_a_counter_that_moves_is_a_sign_of_life_and_one_that_stands_is_none(counter):
    slow, stuck = known(0.1), known(0.1)
    for now_s in range(0, 600, 20):
        slow.counted(EngineSignals(**{counter: 1000 + now_s}), float(now_s))
        stuck.counted(EngineSignals(**{counter: 1000}), float(now_s))
    assert not slow.begins(0.0, 600.0)
    assert stuck.begins(0.0, 600.0)


def test_a_request_that_has_just_come_says_nothing():
    assert not known(0.1).begins(1000.0, 1001.0)


def test_it_is_tried_again_after_a_while_or_when_it_is_heard():
    one = known(0.1)
    assert one.begins(0.0, 100.0)
    assert (one.is_away(100.0 + AWAY_S - 1.0), one.is_away(100.0 + AWAY_S)) == (True, False)
    one.heard(110.0)
    assert not one.is_away(111.0)
