"""How fast requests may come to a window while a policy still keeps what was promised.

Published capacities are the highest rate at which some share of requests keeps its targets. Here
each window is tried at other rates, halving the range of factors each time; a window is a short
stretch, so a queue that would grow for ever has no time to, and rates of both sides are high.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from evolver.leaderboard.measures import measures, value_of
from evolver.leaderboard.spec import Metric
from sandbox.engine import LoadedPolicy
from sandbox.scenario import Scenario as Window
from sandbox.scenario import outcome_of

FARTHEST = 4.0  # from the scenario's own rate, up and down
HALVINGS = 6  # of the factors on a logarithmic scale: exact to 4.5 %


def sustained(
    windows: Sequence[Window], policy: LoadedPolicy, metric: Metric
) -> list[dict[str, float]]:
    """Of each window the highest rate, requests per second, under the metric's own name.

    Where the slowest is too fast, or the fastest no trouble, it is that rate.
    """
    return [
        {metric.key: _factor(window, policy, metric) * window.trace.rate_rps, "faults": 0.0}
        for window in windows
    ]


def _factor(window: Window, policy: LoadedPolicy, metric: Metric) -> float:
    low, high = 1.0 / FARTHEST, FARTHEST
    if _keeps(window, policy, metric, high):
        return high
    if not _keeps(window, policy, metric, low):
        return low
    for _ in range(HALVINGS):
        middle = math.sqrt(low * high)
        if _keeps(window, policy, metric, middle):
            low = middle
        else:
            high = middle
    return low


def _keeps(window: Window, policy: LoadedPolicy, metric: Metric, factor: float) -> bool:
    faster = replace(
        window, trace=window.trace.scale_rate(factor), warmup_s=window.warmup_s / factor
    )
    value = value_of(measures(outcome_of(faster, policy), faster), metric.name)
    bound = metric.sustains or 0.0
    return value >= bound if metric.better == "higher" else value <= bound
