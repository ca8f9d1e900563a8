"""The control arm: who is in it, what counts, and what is made of it."""

import math
import random
from dataclasses import replace

import pytest

from serving_adapter.decision import Arm
from serving_adapter.facts import RequestFacts
from serving_adapter.request_log import RequestOutcome, Visit
from serving_adapter.safety.comparison import Comparison, Standing
from serving_adapter.safety.control_arm import (
    Observation,
    observation_of,
    shares_of,
    unit_of,
)
from serving_adapter.safety.limits import LiveLimits

FACTS = RequestFacts(arrived_s=10.0, prompt_tokens=100, session=7)
LIMITS = LiveLimits()


def test_a_session_keeps_its_arm_for_an_epoch_and_then_draws_anew():
    units = [unit_of(replace(FACTS, arrived_s=at_s), 600.0) for at_s in (0.0, 599.0, 600.0)]
    assert units[0] == units[1] != units[2]


def test_requests_without_a_session_draw_one_by_one():
    alone = replace(FACTS, session=-1)
    assert unit_of(alone, 600.0) == unit_of(alone, 600.0)
    assert unit_of(alone, 600.0) != unit_of(replace(alone, arrived_s=10.001), 600.0)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
def test_law_the_arms_have_their_shares(share):
    units = [unit_of(replace(FACTS, session=number), 600.0) for number in range(20_000)]
    count = sum(shares_of(None, share).arm(unit) is Arm.CONTROL for unit in units)
    assert abs(count / 20_000 - share) <= 5 * math.sqrt(share * (1 - share) / 20_000)


@pytest.mark.parametrize("weight", [0.02, 0.5, 0.9, 1.0])
def test_law_a_canary_and_its_control_are_of_equal_size_where_there_is_room(weight):
    shares = shares_of(weight, 0.05)
    units = [unit_of(replace(FACTS, session=number), 0.0) for number in range(20_000)]
    arms = [shares.arm(unit) for unit in units]
    for arm, share in ((Arm.POLICY, weight), (Arm.CONTROL, min(weight, 1 - weight))):
        allowed = 5 * math.sqrt(share * (1 - share) / 20_000)
        assert abs(arms.count(arm) / 20_000 - share) <= allowed


def test_a_canary_that_gets_more_keeps_the_sessions_that_it_has():
    units = [unit_of(replace(FACTS, session=number), 0.0) for number in range(2000)]
    small, large = shares_of(0.1, 0.05), shares_of(0.4, 0.05)
    kept = [large.arm(unit) for unit in units if small.arm(unit) is Arm.POLICY]
    assert set(kept) == {Arm.POLICY}


def seen(unit, arm=Arm.POLICY, **fields) -> Observation:
    told = {"digest": "d", "failed": False, "ttft_s": 0.1, "e2e_s": 1.0, **fields}
    return Observation(arm=arm, unit=unit, **told)


def test_a_policy_that_fails_what_its_control_serves_is_found_out():
    comparison = Comparison("d", LIMITS, 0.5)
    for unit in range(200):
        bad = unit % 2 == 0
        comparison.add(seen(unit, Arm.POLICY if bad else Arm.CONTROL, failed=bad))
    assert comparison.verdict.startswith("failures: evidence")


@pytest.mark.parametrize(
    ("policy_s", "standing"), [(0.5, Standing.BETTER), (1.0, Standing.OPEN), (2.0, Standing.WORSE)]
)
def test_a_comparison_ends_three_ways(policy_s, standing):
    comparison, rng = Comparison("d", LIMITS, 0.5), random.Random(7)
    for unit in range(1000):
        arm = rng.choice([Arm.POLICY, Arm.CONTROL])
        e2e_s = rng.lognormvariate(0.0, 0.3) * (policy_s if arm is Arm.POLICY else 1.0)
        comparison.add(seen(unit, arm, ttft_s=math.nan, e2e_s=e2e_s))
    assert comparison.standing is standing


@pytest.mark.parametrize(
    "useless", [seen(1, digest="another"), seen(1, arm=Arm.NONE), seen(0, arm=Arm.CONTROL)]
)
def test_what_belongs_to_no_comparison_changes_nothing(useless):
    """Another policy's request, one of no arm, a session that was counted in this epoch."""
    comparison = Comparison("d", LIMITS, 0.05)
    comparison.add(seen(0))
    before = comparison.evidence
    comparison.add(useless)
    assert comparison.evidence == before


def test_the_usual_wait_is_the_controls_p99():
    comparison = Comparison("d", LIMITS, 0.05)
    for unit in range(100):
        comparison.add(seen(unit, Arm.POLICY, ttft_s=50.0))
        comparison.add(seen(1000 + unit, Arm.CONTROL, ttft_s=float(unit)))
    assert comparison.usual_wait_s == 98.0


@pytest.mark.parametrize(
    ("outcome", "failed"),
    [(RequestOutcome.OK, False), (RequestOutcome.REJECTED, True), (RequestOutcome.BROKEN, True),
     (RequestOutcome.ABANDONED, None), (RequestOutcome.CLIENT_ERROR, None)],
)  # fmt: skip
def test_what_the_client_did_is_no_policys_doing(outcome, failed):
    visit = Visit("chat", 0.0, FACTS)
    visit.ended(outcome, 200)
    record = replace(visit.record(11.0), arm=Arm.POLICY, compared="d")
    found = observation_of(FACTS, record, 600.0)
    assert (found.failed if found else None) is failed
