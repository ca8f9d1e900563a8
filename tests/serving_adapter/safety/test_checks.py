"""What the watchdog looks for: each check fires beyond its bound, and not before."""

import math

import pytest

from serving_adapter.errors import AdapterError
from serving_adapter.safety.call_times import CallTimes
from serving_adapter.safety.checks import (
    EngineReading,
    Holding,
    ImbalanceCheck,
    Reading,
    StallCheck,
    stale_signals,
)
from serving_adapter.safety.limits import LiveLimits

LIMITS = LiveLimits()


def engine(outstanding=1, kv_use=math.nan, signal_age_s=0.1, speed=math.nan) -> EngineReading:
    return EngineReading(outstanding, kv_use, signal_age_s, speed)


def reading(at_s, *engines, picks=None, held=0, oldest_held_s=0.0) -> Reading:
    return Reading(at_s, dict(enumerate(engines)), picks or {}, Holding(held, oldest_held_s))


@pytest.mark.parametrize(
    ("held_s", "usual_s", "stalls"),
    [(4.9, 0.1, False), (5.0, 0.1, True), (8.0, 3.0, False), (9.0, 3.0, True), (30.0, 99.0, True)],
)
def test_a_request_may_be_held_for_three_usual_waits_but_not_for_ever(held_s, usual_s, stalls):
    held = reading(0.0, engine(), held=1, oldest_held_s=held_s)
    assert bool(StallCheck(LIMITS).look(held, usual_s)) is stalls


def test_holding_while_nobody_works_is_a_stall_and_while_somebody_works_is_not():
    for outstanding, stalls in ((0, True), (1, False)):
        check = StallCheck(LIMITS)
        found = [
            check.look(reading(at_s, engine(outstanding), held=2, oldest_held_s=at_s), 0.0)
            for at_s in (0.0, 0.9, 1.0)
        ]
        assert [bool(reason) for reason in found] == [False, False, stalls]


def seen_shares(engines, picks_per_s, span_s=61) -> str:
    check, reason = ImbalanceCheck(LIMITS), ""
    for at_s in range(span_s):
        picks = {number: rate * at_s for number, rate in enumerate(picks_per_s)}
        reason = reason or check.look(reading(float(at_s), *engines, picks=picks))
    return reason


@pytest.mark.parametrize(
    ("picks_per_s", "found"),
    [((10, 1, 1, 1), True), ((10, 2, 2, 2), False), ((1, 0, 0, 0), False)],
)
def test_three_times_the_fair_share_for_a_minute_is_too_much(picks_per_s, found):
    """The last case has too few requests to say."""
    assert bool(seen_shares([engine()] * 4, picks_per_s)) is found


def test_a_faster_engine_has_a_larger_fair_share():
    engines = [engine(speed=7.0), *[engine(speed=1.0)] * 3]
    assert not seen_shares(engines, (10, 1, 1, 1))


def test_shares_are_counted_from_when_an_engine_came():
    check = ImbalanceCheck(LIMITS)
    for at_s in range(100):
        engines = [engine()] * (3 if at_s < 50 else 4)
        assert not check.look(reading(float(at_s), *engines, picks={0: 10 * at_s}))


@pytest.mark.parametrize(("free", "found"), [(0.4, True), (0.6, False)])
def test_a_full_engine_beside_an_empty_one_may_last_ten_seconds(free, found):
    check = ImbalanceCheck(LIMITS)
    uses = [engine(kv_use=0.99), engine(kv_use=free), engine()]
    reasons = [check.look(reading(at_s, *uses)) for at_s in (0.0, 9.0, 10.0)]
    assert [bool(reason) for reason in reasons] == [False, False, found]


@pytest.mark.parametrize(
    ("ages_s", "stale"),
    [
        ((3.0, 0.1), False),
        ((3.0, 2.5), True),
        ((math.nan, 3.0), True),
        ((math.nan,), False),
        ((), False),
    ],
)
def test_signals_are_stale_when_all_that_there_are_are_old(ages_s, stale):
    """An engine that never had any says nothing."""
    found = stale_signals(dict(enumerate(engine(signal_age_s=age_s) for age_s in ages_s)), 2.0)
    assert bool(found) is stale


def test_the_p99_is_of_the_latest_thousand_calls():
    times = CallTimes(LIMITS)
    for _ in range(980):
        times.add(1e-5)
    for _ in range(19):
        times.add(5e-3)
    assert not times.slow()
    times.add(1e-5)
    assert times.slow() == "the p99 of 1000 decisions is 5 ms"
    assert not times.slow()


def test_two_late_calls_count_within_a_minute_only():
    times = CallTimes(LIMITS)
    assert [times.late(at_s) for at_s in (0.0, 61.0, 100.0)] == [False, False, True]


@pytest.mark.parametrize("wrong", [{"stall_s": -1.0}, {"alpha": 0.0}, {"control_share": 0.6}])
def test_limits_that_mean_nothing_are_refused(wrong):
    with pytest.raises(AdapterError):
        LiveLimits(**wrong)
