"""Closes a window: the contract's class rows, from two readings of `summary`'s sums.

The simulator compiles these functions and hosts call them as they stand, to the same bits. What was
not counted is missing (NaN, -1); each mean is over its own count.
"""

# mypy: no-warn-return-any
# rows are arrays to the simulator and lists to hosts, so their elements are Any to mypy
from __future__ import annotations

import math
from typing import Any, TypeAlias

from sandbox.summary import (
    ARRIVED,
    ATTAINED,
    BINS,
    CACHED_TOKENS,
    E2E_US,
    GAP_HIGH,
    GAP_SQUARE_HIGH,
    GAP_SQUARE_LOW,
    GAP_US,
    GAPS,
    LOWER_EDGES,
    OUTPUT_BINS,
    OUTPUT_TOKENS,
    PREEMPTED,
    PROMPT_BINS,
    PROMPT_TOKENS,
    QUEUE_US,
    REJECTED,
    TPOT_NS,
    TTFT_US,
    WATCHED,
    Row,
)
from sandbox.summary_forecast import OUTPUT_TOKENS as OUTPUT_SMOOTH
from sandbox.summary_forecast import PROMPT_TOKENS as PROMPT_SMOOTH
from sandbox.summary_forecast import WEIGHT, look_ahead, smoothed

Record: TypeAlias = Any
"""A structured row of the contract: by field name in both engines."""


def fill_class(v: Record, now: Row, before: Row, outlook: Row, now_s: float, span_s: float) -> None:
    """One class row of a window; `queued_requests` is left to who knows queues.

    Args:
        v: the `contract.ClassRow`, whose `class_id` stands already.
        now, before: the class's sums at the end of this window and of the one before.
        outlook: the class's row of `summary_forecast`; takes this window in.
        now_s: end of the window, on a clock that begins with the first.
        span_s: its length.
    """
    arrived = now[ARRIVED] - before[ARRIVED]
    forecast, error = look_ahead(outlook, now_s, span_s, arrived)
    v["requests"] = arrived
    v["rate_rps"] = float(arrived) / span_s if span_s > 0.0 else math.nan
    v["forecast_rps"] = forecast
    v["forecast_error"] = error
    v["burstiness"] = _burstiness(now, before)
    v["rejected"] = now[REJECTED] - before[REJECTED]
    v["preemptions"] = now[PREEMPTED] - before[PREEMPTED] if now[WATCHED] > 0 else -1
    prompt, output = _mean(now, before, PROMPT_TOKENS), _mean(now, before, OUTPUT_TOKENS)
    outlook[PROMPT_SMOOTH] = smoothed(outlook[PROMPT_SMOOTH], prompt, WEIGHT)
    outlook[OUTPUT_SMOOTH] = smoothed(outlook[OUTPUT_SMOOTH], output, WEIGHT)
    v["prompt_mean_tokens"] = prompt
    v["output_mean_tokens"] = output
    v["prompt_p95_tokens"] = _p95(now, before, PROMPT_BINS)
    v["output_p95_tokens"] = _p95(now, before, OUTPUT_BINS)
    v["queue_mean_s"] = _mean(now, before, QUEUE_US) / 1e6
    v["ttft_mean_s"] = _mean(now, before, TTFT_US) / 1e6
    v["tpot_mean_s"] = _mean(now, before, TPOT_NS) / 1e9
    v["e2e_mean_s"] = _mean(now, before, E2E_US) / 1e6
    v["reuse"] = _mean(now, before, CACHED_TOKENS)
    v["slo_attainment"] = _mean(now, before, ATTAINED)


def clear_pressure(window: Record) -> None:
    """Before `see_pressure` of each engine."""
    window["kv_pressure"] = 0.0
    window["kv_pressure_max"] = 0.0


def see_pressure(window: Record, used: float) -> int:
    """One engine's share of KV in use; how many that is, none where it is missing."""
    if used != used:  # NaN
        return 0
    window["kv_pressure"] += used
    window["kv_pressure_max"] = max(window["kv_pressure_max"], used)
    return 1


def close_pressure(window: Record, engines: int) -> None:
    """After `see_pressure`, which counted so many engines."""
    if engines > 0:
        window["kv_pressure"] = window["kv_pressure"] / float(engines)
    else:
        window["kv_pressure"] = math.nan
        window["kv_pressure_max"] = math.nan


def _mean(now: Row, before: Row, place: int) -> float:
    """Of this window, from a sum and the count that stands before it; NaN without any."""
    count = now[place - 1] - before[place - 1]
    if count <= 0:
        return math.nan
    return float(now[place] - before[place]) / float(count)


def _burstiness(now: Row, before: Row) -> float:
    """Standard deviation of the gaps between arrivals over their mean; NaN below two gaps."""
    count = now[GAPS] - before[GAPS]
    mean = _mean(now, before, GAP_US)
    if count < 2 or not mean > 0.0:
        return math.nan
    high = float(now[GAP_SQUARE_HIGH] - before[GAP_SQUARE_HIGH])
    low = float(now[GAP_SQUARE_LOW] - before[GAP_SQUARE_LOW])
    spread = (high * GAP_HIGH + low) / float(count) - mean * mean
    return math.sqrt(max(spread, 0.0)) / mean


def _p95(now: Row, before: Row, bins: int) -> float:
    """Upper edge of the bin that holds the 95th percentile; NaN without data."""
    total = 0
    for k in range(bins, bins + BINS):
        total += now[k] - before[k]
    if total <= 0:
        return math.nan
    seen = 0
    for k in range(BINS):
        seen += now[bins + k] - before[bins + k]
        if 100 * seen >= 95 * total:
            return LOWER_EDGES[k + 1]
    return math.nan
