"""Starvation: who is made to wait is seen, who asks for too much is not; engines that idle."""

import math
from dataclasses import replace

import pytest

from serving_adapter.facts import RequestFacts
from serving_adapter.request_log import RequestOutcome, Visit
from serving_adapter.safety.checks import EngineReading, Reading
from serving_adapter.safety.limits import LiveLimits
from serving_adapter.safety.starvation import IdleEngineCheck, TenantCheck, Wait, wait_of

LIMITS = LiveLimits()
SHORT, LONG = (True, True, 8), (True, True, 16)


def waits(tenant, wait_s, count=20, alike=SHORT, tokens=200, served=True) -> list[Wait]:
    return [
        Wait(float(n), "d", tenant, alike, wait_s, tokens, tokens * served) for n in range(count)
    ]


def verdict(*groups, at_s=25.0) -> str:
    check = TenantCheck(LIMITS)
    for wait in sorted((wait for group in groups for wait in group), key=lambda one: one.at_s):
        check.add(wait)
    return check.look(at_s)


def test_a_tenant_that_waits_far_longer_than_the_others_is_starved():
    assert verdict(waits(1, 6.0), waits(2, 0.2), waits(3, 0.3)) == (
        "one of 3 tenants waited 6 s, others far less"
    )


@pytest.mark.parametrize(
    "groups",
    [
        [waits(1, 1.9), waits(2, 0.01)],  # not long
        [waits(1, 6.0), waits(2, 3.0)],  # everybody waits
        [waits(1, 6.0)],  # there are no others
        [waits(1, 6.0, count=9), waits(2, 0.2)],  # too few to say
        [waits(1, 6.0, alike=LONG), waits(2, 0.2)],  # none of the others asks for so much
        [waits(1, 6.0, alike=LONG), waits(2, 0.2), waits(2, 5.0, alike=LONG)],  # long ones do take
    ],
)
def test_no_policy_is_blamed_for(groups):
    assert verdict(*groups) == ""


def test_a_tenant_that_sends_too_much_may_wait_but_not_get_next_to_nothing():
    """Four times what the other sends: it waits where it still gets more than half of a part."""
    much, other = waits(1, 6.0, count=80), waits(2, 0.2)
    assert verdict(much, other, at_s=80.0) == ""
    starved = [replace(one, served_tokens=0) for one in much[4:]]
    assert verdict(much[:4], starved, other, at_s=60.0)


def test_what_was_long_ago_is_forgotten():
    assert verdict(waits(1, 6.0), waits(2, 0.2), at_s=81.0) == ""


FACTS = RequestFacts(arrived_s=10.0, prompt_tokens=300, cached_tokens=200, tenant=7)


def ended(outcome=RequestOutcome.OK, first_s=12.0, attempts=1, stream=True):
    visit = Visit("chat", 0.0, replace(FACTS, stream=stream), sent_s=10.5, first_token_s=first_s)
    visit.ended(outcome, 200)
    return replace(visit.record(15.0), attempts=attempts, digest="d")


def test_waiting_is_the_time_to_the_first_token_or_in_the_gateway_where_nobody_sees_one():
    streamed = wait_of(FACTS, ended(), 15.0)
    assert (streamed.wait_s, streamed.tenant, streamed.alike) == (2.0, 7, (True, True, 7))
    assert wait_of(FACTS, ended(stream=False), 15.0).wait_s == 0.5


def test_who_left_before_anything_came_waited_that_long_for_nothing():
    left = wait_of(FACTS, ended(RequestOutcome.ABANDONED, first_s=math.nan), 15.0)
    assert (left.wait_s, left.offered_tokens, left.served_tokens) == (5.0, 300, 0)


@pytest.mark.parametrize(
    "record", [ended(RequestOutcome.BROKEN), ended(attempts=2), replace(ended(), digest="")]
)
def test_an_engine_that_failed_says_nothing_about_waiting(record):
    assert wait_of(FACTS, record, 15.0) is None


def idles(busy, picks_of, kinds=((), ()), span_s=11, idle_outstanding=0) -> str:
    check, reason = IdleEngineCheck(LIMITS), ""
    for at_s in range(span_s):
        engines = {
            0: EngineReading(busy(at_s) + 1, math.nan, 0.1, math.nan, busy(at_s), kinds[0]),
            1: EngineReading(idle_outstanding, math.nan, 0.1, math.nan, 0, kinds[1]),
        }
        reason = reason or check.look(Reading(float(at_s), engines, picks_of(at_s)))
    return reason


def test_an_engine_that_gets_nothing_while_others_queue_is_starved():
    assert idles(lambda _: 5, lambda at_s: {0: 3 * at_s}) == (
        "an engine stood idle for 10 s while requests queued elsewhere"
    )


@pytest.mark.parametrize(
    "case",
    [
        {"busy": lambda _: 1},  # one prompt under way is no queue
        {"busy": lambda at_s: 5 * (at_s != 6)},  # the queue was gone in between
        {"picks_of": lambda at_s: {0: 3 * at_s, 1: at_s // 5}},  # it works, just faster
        {"picks_of": lambda _: {0: 30}},  # nothing came that it could have got
        {"kinds": ((0.0,), (2.0,))},  # it takes other requests
        {"idle_outstanding": 1},
        {"span_s": 10},
    ],
)
def test_no_policy_is_blamed_for_an_idle_engine_when(case):
    assert idles(**{"busy": lambda _: 5, "picks_of": lambda at_s: {0: 3 * at_s}, **case}) == ""
