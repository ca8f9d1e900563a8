"""Planners on trial take turns, period by period, and only what is really worse is ejected."""

import random

import numpy as np
import pytest
from planning_policies import BY_RATE, LATE_FAULT, TWO

from sandbox.summary import ARRIVED, E2E_US, E2ES, FINISHED, WIDTH
from serving_adapter.activation import Ready
from serving_adapter.decision import Arm, Author
from serving_adapter.errors import AdapterError
from serving_adapter.live import Live
from serving_adapter.planning.switchback import Switchback, SwitchbackSpec
from serving_adapter.request_log import RequestOutcome
from serving_adapter.safety.comparison import Standing
from serving_adapter.safety.ejection import EjectionKind
from serving_adapter.safety.limits import LiveLimits

ACTIVE, CANARY = Ready("a" * 64, None), Ready("b" * 64, None)
SPEC = SwitchbackSpec(period_s=60.0, washout_s=20.0)
POINT_S = 10.0


def trial(factor: float, seed: int, periods: int = 400, weight: float = 0.5, washed: float = 1.0):
    """A canary whose requests take `factor` as long (`washed`: in wash-out), under drifting load.

    What one planner left behind is felt in the first 20 seconds of the next period.
    """
    draw = random.Random(seed)
    one = Switchback(SPEC, LiveLimits(), key=seed.to_bytes(8, "big"))
    live = Live(2, ACTIVE, canary=CANARY, weight=weight)
    sums, arms, now_s = np.zeros((1, WIDTH), np.int64), [], 0.0
    for point in range(int(periods * SPEC.period_s / POINT_S)):
        now_s = POINT_S * point
        arms.append(one.arm(live, now_s, sums))
        early = now_s % SPEC.period_s < SPEC.washout_s
        usual_s = 2.0 + np.sin(now_s / 5000.0) + 0.5 * draw.random()
        slower = (washed if early else factor) if arms[-1] is Arm.POLICY else 1.0
        sums[0, [ARRIVED, FINISHED, E2ES]] += 20
        sums[0, E2E_US] += int(20e6 * usual_s * slower)
        if one.comparison is None or one.comparison.standing is not Standing.OPEN:
            break
    return one, arms


def test_equal_planners_are_never_told_apart():
    standings = [trial(1.0, seed)[0].comparison.standing for seed in range(8)]
    assert set(standings) == {Standing.OPEN}


def test_one_that_is_worse_is_found_out_and_so_is_one_that_is_better():
    for factor, expected in ((1.6, Standing.WORSE), (0.6, Standing.BETTER)):
        found = [trial(factor, seed)[0].comparison for seed in range(5)]
        assert {one.standing for one in found} == {expected}
        assert max(sum(one.counts.values()) for one in found) < 400


def test_what_happens_in_the_wash_out_counts_for_nobody():
    comparison = trial(1.0, 3, washed=50.0)[0].comparison
    assert (comparison.standing, comparison.counts[Arm.POLICY] > 150) == (Standing.OPEN, True)


def test_each_arm_gets_its_share_of_the_time_and_keeps_it_for_a_whole_period():
    arms = trial(1.0, 5, periods=600, weight=0.2)[1]
    points = int(SPEC.period_s / POINT_S)
    periods = [set(arms[at : at + points]) for at in range(0, len(arms), points)]
    assert {len(one) for one in periods} == {1}
    share = {arm: sum(one == {arm} for one in periods) / len(periods) for arm in Arm}
    assert share == pytest.approx({Arm.POLICY: 0.2, Arm.CONTROL: 0.2, Arm.NONE: 0.6}, abs=0.07)


def test_one_that_plans_always_is_compared_with_nobody():
    one, arms = trial(1.0, 1, weight=1.0)
    assert (one.comparison, set(arms)) == (None, {Arm.POLICY})


def test_a_wash_out_that_is_no_part_of_its_period_is_refused():
    with pytest.raises(AdapterError, match="wash-out"):
        SwitchbackSpec(period_s=60.0, washout_s=60.0)


def turns(stand, points: int):
    """The author of each point's decision, and how many replicas were wanted."""
    stand.planner.trial = Switchback(SPEC, LiveLimits(), key=b"a key")
    for _ in range(points):
        stand.point(2)
    return [(one.author, one.arm, one.replicas) for one in stand.planner.recent]


def test_who_takes_over_plans_at_once(stand):
    stand.go_live(BY_RATE, canary=TWO)
    seen = turns(stand, 120)
    assert {(author, replicas) for author, _, replicas in seen} == {
        (Author.ACTIVE, 1), (Author.CANARY, 2)}  # fmt: skip
    assert {author for author, arm, _ in seen if arm is Arm.POLICY} == {Author.CANARY}
    assert {author for author, arm, _ in seen if arm is not Arm.POLICY} == {Author.ACTIVE}


def test_when_the_trial_ends_the_active_one_plans_again(stand):
    stand.go_live(BY_RATE, canary=TWO, weight=1.0)
    turns(stand, 2)
    stand.go_live(BY_RATE)
    assert len(stand.point(2).replicas) == 1


def test_a_canary_that_faults_is_ejected_and_the_active_one_decides_at_the_same_point(stand):
    stand.go_live(TWO, canary=LATE_FAULT, weight=1.0)
    stand.point()
    wanted = stand.point(queued_requests=77)
    assert (wanted.author, len(wanted.replicas)) == (Author.ACTIVE, 2)
    assert stand.slot.live.canary is None
    assert stand.slot.live.active is not None


def test_a_canary_that_is_proven_worse_goes(stand):
    stand.go_live(BY_RATE, canary=TWO)
    stand.planner.trial = Switchback(SPEC, LiveLimits(), key=b"a key")
    for _ in range(3000):
        slow = bool(stand.planner.recent) and stand.planner.recent[-1].author is Author.CANARY
        stand.tally.ended(RequestOutcome.OK, e2e_s=4.0 if slow else 1.0)
        stand.point(2)
        if stand.slot.latched:
            break
    assert [one.kind for one in stand.slot.latched] == [EjectionKind.REGRESS]
    assert (stand.slot.live.canary, stand.planner.recent[-1].author) == (None, Author.ACTIVE)
