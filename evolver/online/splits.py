"""Where the time of a course went, and how its requests fared: of the measured part, by regime.

Total time is scheduling + reconfiguration + serving, split exclusively by GPU time as everywhere:
reconfiguring is the share of GPU time that loads engines, scheduling the share that idles only
because a plan is being computed. `planning_s` overlaps serving and is no part of the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evolver.online.course import Course, Point
from sandbox.hardware import build_hardware
from sandbox.kernel.state import FINISHED, PS_PER_S
from sandbox.metrics import charged_s
from sandbox.simulation import Outcome

Numbers = dict[str, float]


def measured(course: Course, outcome: Outcome, since: Point) -> dict[str, Any]:
    """Numbers of a finished course from one monitoring point on: as a whole and by regime.

    Args:
        since: the point at which the measured part begins; the same one in every arm.
    """
    points = [*(p for p in course.points if p.time_s >= since.time_s), course.end()]
    ground = course.ground
    of_request = _regimes(course)
    charged = charged_s(outcome, course.run.setup, build_hardware(ground.cluster))
    mine = ground.trace.arrival_s >= ground.spec.past_s
    regimes = []
    for index, regime in enumerate(ground.spec.regime):
        times = _sum(_between(a, b) for a, b in pairwise(points) if _regime_of(course, a) == index)
        asked = mine & (of_request == index)
        regimes.append({
            "name": regime.name, "volatile": ground.volatile[index],
            **times, **_served(course, outcome, charged, asked, times["total_s"]),
        })  # fmt: skip
    whole = _sum(_between(a, b) for a, b in pairwise(points))
    return {
        **whole,
        **_served(course, outcome, charged, mine, whole["total_s"]),
        "faults": int(outcome.totals["faults"]),
        "regimes": regimes,
    }


def _regime_of(course: Course, point: Point) -> int:
    """Regime of the requests that were the latest to come at a point."""
    tick_s = course.ground.spec.monitoring_s
    at_s = point.released_s - tick_s if course.mode == "backlog" else point.released_s
    return course.ground.regime_at(at_s)


def _regimes(course: Course) -> NDArray[np.int64]:
    ends = [one.until_s for one in course.ground.spec.regime[:-1]]
    found = np.searchsorted(ends, course.ground.trace.arrival_s, side="right")
    return np.asarray(found, np.int64)


def _between(first: Point, last: Point) -> Numbers:
    """The split of the time between two points."""
    step = {name: last.counted[name] - first.counted[name] for name in first.counted}
    total_s = step["integrated"] / PS_PER_S
    gpu_ps = max(step["gpu_ps"], 1.0)
    loading_s = total_s * step["loading_ps"] / gpu_ps
    blocked_s = total_s * step["blocked_ps"] / gpu_ps
    return {
        "scheduling_s": blocked_s,
        "reconfiguration_s": loading_s,
        "serving_s": total_s - loading_s - blocked_s,
        "total_s": total_s,
        "planning_s": step["planning_ps"] / PS_PER_S,
        "reconfigurations": step["reconfigurations"],
        "plans": step["plans"],
    }


def _sum(parts: Any) -> Numbers:  # noqa: ANN401 - an iterable of Numbers
    names = (
        "scheduling_s", "reconfiguration_s", "serving_s", "total_s", "planning_s",
        "reconfigurations", "plans",
    )  # fmt: skip
    rows: list[Mapping[str, float]] = list(parts)
    return {name: float(sum(row[name] for row in rows)) for name in names}


def _served(
    course: Course, outcome: Outcome, charged: NDArray[np.float64], mine: NDArray[np.bool_],
    total_s: float,
) -> Numbers:  # fmt: skip
    """Latency and goodput of some requests; goodput is per second of the trace, or of a backlog."""
    slo, trace = course.ground.cluster.slo, course.ground.trace
    done = mine & (outcome.state == FINISHED)
    ttft = (outcome.first - outcome.entered)[done] / PS_PER_S
    e2e = (outcome.finish - outcome.entered)[done] / PS_PER_S
    steps = np.maximum(trace.output_tokens[done] - 1, 1)
    tpot = (outcome.finish - outcome.first)[done] / PS_PER_S / steps
    kept = (ttft <= slo.ttft_s) & (tpot <= slo.tpot_s) & (e2e <= slo.e2e_s)
    span_s = total_s
    if course.mode == "open" and mine.any():
        span_s = float(np.ptp(trace.arrival_s[mine])) or 1.0
    return {
        "requests": float(mine.sum()),
        "unfinished": float(mine.sum() - done.sum()),
        "e2e_mean_s": _value(np.nanmean(charged[mine]) if mine.any() else np.nan),
        "e2e_p95_s": _value(np.percentile(e2e, 95) if len(e2e) else np.nan),
        "ttft_p95_s": _value(np.percentile(ttft, 95) if len(ttft) else np.nan),
        "goodput_rps": float(kept.sum()) / max(span_s, 1e-9),
        "slo_attainment": float(kept.sum()) / max(int(mine.sum()), 1),
    }


def _value(number: Any) -> float:  # noqa: ANN401 - a NumPy scalar or NaN
    return float(number)
