"""How evolving compares with the other arms: paired by seed, with intervals over seeds and pairs.

A saving is the share of the rival's seconds that evolving does without. Within a pair the unit is a
seed, over all pairs it is a pair (the mean of its seeds' log-ratios); intervals hold 95 %, by the
same method as everywhere else in the product (`sandbox.stats`). The three seeds of a pair share its
traces: their interval says how much chance in search and prediction matters, not how another trace
of the kind would come out. That is what the interval over pairs is for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.stats import paired_bootstrap, relative_gain

Result = Mapping[str, Any]
EVOLVING = "evolving"
DEPLOYED, BEST = "deployed", "best static"
RIVALS = {
    "no evolution": "the default policy, which runs when nobody does anything",
    DEPLOYED: "the static policy that was best on the past, which evolving starts from",
    BEST: "of the static policies tuned on the past the one that did best in the end",
    "whole": "the best static policy tuned on the whole measured part, as many settings in all",
    "regimes": "for each regime the static policy tuned on that very regime",
}


@dataclass(frozen=True, slots=True)
class Saving:
    """What evolving saves against one rival; the ends are NaN where there are too few units."""

    rival: str
    gain: float
    low: float
    high: float
    units: int

    @property
    def verdict(self) -> str:
        """Whether zero is outside of the interval, and on which side."""
        if self.low > 0.0:
            return "gain"
        return "loss" if self.high < 0.0 else "no gain shown"


def by_pair(results: Sequence[Result], mode: str) -> dict[str, list[Result]]:
    """Results of one mode by pair, in order of first appearance."""
    found: dict[str, list[Result]] = {}
    for result in results:
        if result["mode"] == mode:
            found.setdefault(result["pair"], []).append(result)
    return found


def best_static(seeds: Sequence[Result], metric: str) -> str:
    """The policy tuned on the past that took least, by the geometric mean over seeds."""
    names = [str(name) for name in seeds[0]["arms"] if name.startswith("past:")]

    def mean_log(name: str) -> float:
        return math.fsum(math.log(seed["arms"][name][metric]) for seed in seeds)

    return min(names, key=lambda name: (mean_log(name), name))


def arm_of(rival: str, seed: Result, seeds: Sequence[Result], metric: str) -> Mapping[str, Any]:
    """Numbers of the arm that a rival's name stands for under one seed."""
    name = {DEPLOYED: seed["chosen"], BEST: best_static(seeds, metric)}.get(rival, rival)
    found: Mapping[str, Any] = seed["arms"][name]
    return found


def log_ratios(
    seeds: Sequence[Result], rival: str, metric: str, arm: str = EVOLVING
) -> list[float]:
    """ln(rival / evolving) of each seed of a pair."""
    return [
        math.log(arm_of(rival, seed, seeds, metric)[metric] / seed["arms"][arm][metric])
        for seed in seeds
    ]


def saving(values: Sequence[float], rival: str) -> Saving:
    """The saving that some log-ratios stand for."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Saving(rival, relative_gain(mean), math.nan, math.nan, len(values))
    interval = paired_bootstrap(values, seed=0)
    low, high = relative_gain(interval.low), relative_gain(interval.high)
    return Saving(rival, relative_gain(mean), low, high, len(values))


def savings(
    results: Sequence[Result], mode: str, metric: str, arm: str = EVOLVING
) -> dict[str, list[Saving]]:
    """By pair, then under "all pairs": what evolving saves against each rival."""
    pairs = by_pair(results, mode)
    ratios = {
        pair: {rival: log_ratios(seeds, rival, metric, arm) for rival in RIVALS}
        for pair, seeds in pairs.items()
    }
    found = {
        pair: [saving(values, rival) for rival, values in rows.items()]
        for pair, rows in ratios.items()
    }
    if ratios:
        found["all pairs"] = [
            saving([math.fsum(rows[rival]) / len(rows[rival]) for rows in ratios.values()], rival)
            for rival in RIVALS
        ]
    return found


def overhead_s(arm: Mapping[str, Any], volatile: bool | None = None) -> float:
    """Scheduling and reconfiguration of an arm, in all or in its volatile or other regimes."""
    regimes = [r for r in arm["regimes"] if volatile is None or r["volatile"] is volatile]
    return math.fsum(r["scheduling_s"] + r["reconfiguration_s"] for r in regimes)
