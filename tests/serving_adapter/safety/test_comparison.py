"""A canary that is the active policy over again is hardly ever called worse, or better."""

import math
import os
import random

import pytest

from serving_adapter.decision import Arm
from serving_adapter.safety.comparison import Comparison, Standing
from serving_adapter.safety.control_arm import Observation, shares_of
from serving_adapter.safety.limits import LiveLimits

RUNS = 500 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 25
REQUESTS = 600
LIMITS = LiveLimits(alpha=0.05, slo_ttft_s=1.0, slo_attainment=0.5)


def outcomes(rng: random.Random):
    """What requests see, whoever decides: a load that drifts and jumps, long tails, bad minutes."""
    level, broken = 0.0, 0
    for _ in range(REQUESTS):
        level = 0.99 * level + rng.gauss(0.0, 0.15) + 3.0 * (rng.random() < 0.003)
        broken = 30 if rng.random() < 0.003 else broken - 1
        ttft_s = math.exp(level - 1.0 + rng.gauss(0.0, 0.8))
        yield broken > 0 and rng.random() < 0.5, ttft_s, ttft_s + rng.paretovariate(1.5)


def canary(seed: int, weight: float, slower: float = 1.0) -> tuple[set[Standing], bool]:
    """Every standing that one canary ever had, and whether the SLO guard ever spoke."""
    rng, shares = random.Random(seed), shares_of(weight, 0.05)
    comparison = Comparison("d", LIMITS, shares.of_control)
    standings, spoke = set(), False
    for unit, (failed, ttft_s, e2e_s) in enumerate(outcomes(rng)):
        arm = shares.arm(rng.getrandbits(64))
        factor = slower if arm is Arm.POLICY else 1.0
        comparison.add(
            Observation(arm, unit, "d", failed, ttft_s * factor, e2e_s * factor, unit / 10)
        )
        standings.add(comparison.standing)
        spoke = spoke or bool(comparison.slo.verdict(unit / 10))
    return standings, spoke


def most_of(runs: int, rate: float) -> int:
    """What a count at that rate exceeds once in a thousand times."""
    return math.ceil(runs * rate + 3.1 * math.sqrt(runs * rate * (1 - rate)))


@pytest.mark.parametrize("weight", [0.5, 0.8])
def test_law_an_equal_canary_is_called_worse_or_better_at_the_rate_alpha_at_most(weight):
    ends = [canary(seed, weight) for seed in range(RUNS)]
    for called in (Standing.WORSE, Standing.BETTER):
        assert sum(called in standings for standings, _ in ends) <= most_of(RUNS, LIMITS.alpha)
    ejected = sum(Standing.WORSE in standings or spoke for standings, spoke in ends)
    assert ejected <= most_of(RUNS, LIMITS.alpha)


@pytest.mark.parametrize(("slower", "called"), [(4.0, Standing.WORSE), (0.25, Standing.BETTER)])
def test_a_canary_that_is_not_equal_is_called_so(slower, called):
    assert sum(called in canary(seed, 0.5, slower)[0] for seed in range(10)) >= 8
