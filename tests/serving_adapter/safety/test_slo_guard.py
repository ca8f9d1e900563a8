"""The SLO guard: a promise that the policy breaks and its control keeps takes the policy out."""

import random
from dataclasses import replace

import pytest

from serving_adapter.decision import Arm
from serving_adapter.errors import AdapterError
from serving_adapter.safety.comparison import Comparison
from serving_adapter.safety.control_arm import Observation
from serving_adapter.safety.limits import LiveLimits

LIMITS = LiveLimits(slo_ttft_s=1.0, slo_e2e_s=10.0)


def run(policy_misses, control_misses, limits=LIMITS, count=600, share=0.3, **fields):
    """A comparison after `count` requests at ten a second, and the host's time."""
    comparison, rng = Comparison("d", limits, share), random.Random(7)
    for unit in range(count):
        arm = Arm.CONTROL if rng.random() < share else Arm.POLICY
        late = rng.random() < (control_misses if arm is Arm.CONTROL else policy_misses)
        told = {"ttft_s": 1.5 if late else 0.5, "e2e_s": 5.0, "failed": False, **fields}
        comparison.add(Observation(arm, unit, "d", at_s=unit / 10, **told))
    return comparison, count / 10


def test_a_policy_that_breaks_what_its_control_keeps_is_found_out():
    comparison, now_s = run(0.4, 0.03)
    assert comparison.slo.verdict(now_s) == (
        f"{comparison.slo.attainment(Arm.POLICY, now_s):.1%} of requests kept the targets, "
        f"{comparison.slo.attainment(Arm.CONTROL, now_s):.1%} of the control's"
    )


@pytest.mark.parametrize(
    ("policy", "control"),
    [(0.5, 0.5), (0.09, 0.0), (0.03, 0.4), (0.0, 0.0)],
    ids=["overload reaches both", "the promise is kept", "better", "all is well"],
)
def test_no_policy_is_blamed_when(policy, control):
    comparison, now_s = run(policy, control)
    assert comparison.slo.verdict(now_s) == ""


def test_a_few_requests_prove_nothing():
    comparison, now_s = run(1.0, 0.0, count=60)
    assert comparison.slo.verdict(now_s) == ""


def test_only_the_window_says_whether_the_promise_is_kept_now():
    comparison, now_s = run(0.4, 0.03)
    assert comparison.slo.verdict(now_s + 61.0) == ""


@pytest.mark.parametrize(
    ("fields", "missed"),
    [({"ttft_s": 2.0}, True), ({"ttft_s": float("nan")}, False), ({"e2e_s": 11.0}, True),
     ({"failed": True}, True)],
)  # fmt: skip
def test_what_misses_a_target(fields, missed):
    comparison, now_s = run(0.0, 0.0, **fields)
    assert comparison.slo.attainment(Arm.POLICY, now_s) == (0.0 if missed else 1.0)


def test_without_a_promise_there_is_no_guard_and_the_whole_alpha_is_the_comparisons():
    bare = replace(LIMITS, slo_ttft_s=0.0, slo_e2e_s=0.0)
    assert Comparison("d", bare, 0.3).slo is None
    assert (bare.proof, LIMITS.proof) == (pytest.approx(100), pytest.approx(200))


def test_an_attainment_above_one_is_refused():
    with pytest.raises(AdapterError, match="slo_attainment"):
        LiveLimits(slo_attainment=1.1)
