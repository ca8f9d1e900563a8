"""Ratios of entrants: paired by window, geometric means with 95 % intervals; above 1 is better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sandbox.scenario import unit_of
from sandbox.stats import MIN_WINDOWS, cluster_means, paired_bootstrap

Objectives = Mapping[str, float]
"""What an entrant took by window; lower is better."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times better; the ends are NaN where too few windows say anything."""

    mean: float
    low: float
    high: float
    units: int

    @property
    def verdict(self) -> str:
        """Whether 1 is outside of the interval, and on which side."""
        if self.low > 1.0:
            return "better"
        return "worse" if self.high < 1.0 else "even"


def logs(theirs: Objectives, ours: Objectives) -> list[float]:
    """ln(theirs / ours) of each window; runs of one window under other seeds count once."""
    names = sorted(set(theirs) & set(ours))
    values = [math.log(theirs[name] / ours[name]) for name in names]
    return [float(v) for v in cluster_means(values, list(map(unit_of, names)))]


def ratio(theirs: Objectives, ours: Objectives) -> Ratio:
    """How many times as much theirs is as ours: above 1 ours is better.

    Windows where either is not a positive number are left out.
    """
    fit = [
        name for name in theirs.keys() & ours.keys()
        if 0.0 < theirs[name] < math.inf and 0.0 < ours[name] < math.inf
    ]  # fmt: skip
    if not fit:
        return Ratio(math.nan, math.nan, math.nan, 0)
    found = logs({n: theirs[n] for n in fit}, {n: ours[n] for n in fit})
    mean = math.fsum(found) / len(found)
    if len(found) < MIN_WINDOWS:
        return Ratio(math.exp(mean), math.nan, math.nan, len(found))
    interval = paired_bootstrap(found, seed=0)
    return Ratio(math.exp(mean), math.exp(interval.low), math.exp(interval.high), len(found))


def mean_log(objectives: Objectives) -> float:
    """Logarithm of the geometric mean, every window counted once."""
    found = logs(objectives, dict.fromkeys(objectives, 1.0))
    return math.fsum(found) / len(found)


def pooled(ratios: Sequence[Ratio]) -> float:
    """Geometric mean of ratios of several scenarios; NaN without any."""
    known = [math.log(one.mean) for one in ratios if one.mean > 0.0 and math.isfinite(one.mean)]
    return math.exp(math.fsum(known) / len(known)) if known else math.nan
