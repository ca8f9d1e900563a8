"""How many requests a second the next window brings: the better of smoothing and of seasons.

Exponential smoothing follows the latest windows. A seasonal forecast says what came at the same
time one hour, or one day, before; buckets of a minute and of five minutes remember that. Each is
compared with what came, and per class the one that has missed by less of late is told, with its
error: the mean miss relative to the mean rate, both smoothed alike. Plain functions over one row of
`WIDTH` floats per class, compiled by the simulator and called as they stand by hosts.
"""

# mypy: no-warn-return-any
# rows are arrays to the simulator and lists to hosts, so their elements are Any to mypy
from __future__ import annotations

import math
from typing import Any, TypeAlias

Row: TypeAlias = Any
"""`WIDTH` floats: an array when compiled, a list on a host."""

WEIGHT = 0.3  # of the newest window in the exponential smoothing
MISS_WEIGHT = 0.1  # of the newest window in what is known of errors
LEAST_JUDGED = 6  # windows that a seasonal forecast was compared in before it may be told
HOUR_BUCKETS, HOUR_BUCKET_S = 60, 60.0
DAY_BUCKETS, DAY_BUCKET_S = 288, 300.0

# places in a row; those of a season are behind its own beginning
SMOOTH_RPS, SMOOTH_MISS, LEVEL_RPS, PROMPT_TOKENS, OUTPUT_TOKENS, HOUR = range(6)
NEXT_RPS, MISS, JUDGED, BUCKET, ARRIVED, SPAN_S, RINGS = range(7)
DAY = HOUR + RINGS + 2 * HOUR_BUCKETS
WIDTH = DAY + RINGS + 2 * DAY_BUCKETS


def new_row() -> list[float]:
    """What is known before the first window."""
    row = [0.0] * WIDTH
    unknown = (SMOOTH_RPS, SMOOTH_MISS, LEVEL_RPS, PROMPT_TOKENS, OUTPUT_TOKENS)
    for place in (*unknown, HOUR + NEXT_RPS, HOUR + MISS, DAY + NEXT_RPS, DAY + MISS):
        row[place] = math.nan
    return row


def smoothed(old: float, new: float, weight: float) -> float:
    """Exponential smoothing that leaves out what is missing."""
    if new != new:  # NaN
        return old
    if old != old:
        return new
    return old + weight * (new - old)


def look_ahead(row: Row, now_s: float, span_s: float, arrived: int) -> tuple[float, float]:
    """Take a window in; what the next is forecast to bring, and the relative error of that.

    Args:
        row: of the class; brought up to date.
        now_s: end of the window, on a clock that begins with the first.
        span_s: its length; nothing is learned from a window without any.
        arrived: requests in it.

    Returns:
        Requests a second, and NaN as the error before there was a forecast to compare.
    """
    if span_s > 0.0:
        rate = float(arrived) / span_s
        if row[SMOOTH_RPS] == row[SMOOTH_RPS]:  # not NaN
            miss = abs(rate - row[SMOOTH_RPS])
            row[SMOOTH_MISS] = smoothed(row[SMOOTH_MISS], miss, MISS_WEIGHT)
            row[LEVEL_RPS] = smoothed(row[LEVEL_RPS], rate, MISS_WEIGHT)
        row[SMOOTH_RPS] = smoothed(row[SMOOTH_RPS], rate, WEIGHT)
        _season(row, HOUR, HOUR_BUCKETS, HOUR_BUCKET_S, now_s, span_s, arrived)
        _season(row, DAY, DAY_BUCKETS, DAY_BUCKET_S, now_s, span_s, arrived)
    forecast, miss = row[SMOOTH_RPS], row[SMOOTH_MISS]
    for k in range(2):
        at = HOUR if k == 0 else DAY
        known = row[at + NEXT_RPS] == row[at + NEXT_RPS]
        if known and row[at + JUDGED] >= LEAST_JUDGED and row[at + MISS] < miss:
            forecast, miss = row[at + NEXT_RPS], row[at + MISS]
    if miss == 0.0:
        return forecast, 0.0
    return forecast, miss / row[LEVEL_RPS] if row[LEVEL_RPS] > 0.0 else math.nan


def _season(
    row: Row, at: int, buckets: int, bucket_s: float, now_s: float, span_s: float, arrived: int
) -> None:
    """Judge what this season foretold, count the window in, and look up the next one.

    A window counts in the bucket of its middle.
    """
    if row[at + NEXT_RPS] == row[at + NEXT_RPS]:  # not NaN
        miss = abs(float(arrived) / span_s - row[at + NEXT_RPS])
        row[at + MISS] = smoothed(row[at + MISS], miss, MISS_WEIGHT)
        row[at + JUDGED] += 1.0
    here = int((now_s - 0.5 * span_s) / bucket_s) + 1  # 0 is the number of no bucket
    if here != int(row[at + BUCKET]):
        _keep(row, at, buckets)
        row[at + BUCKET] = float(here)
    row[at + ARRIVED] += float(arrived)
    row[at + SPAN_S] += span_s
    before = int((now_s + 0.5 * span_s) / bucket_s) + 1 - buckets
    slot = at + RINGS + 2 * (before % buckets)
    found = before > 0 and int(row[slot]) == before
    row[at + NEXT_RPS] = row[slot + 1] if found else math.nan


def _keep(row: Row, at: int, buckets: int) -> None:
    """The bucket that was being filled is over: remember its rate for a season."""
    if row[at + SPAN_S] > 0.0:
        number = int(row[at + BUCKET])
        slot = at + RINGS + 2 * (number % buckets)
        row[slot] = float(number)
        row[slot + 1] = row[at + ARRIVED] / row[at + SPAN_S]
    row[at + ARRIVED] = 0.0
    row[at + SPAN_S] = 0.0
