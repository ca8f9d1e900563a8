"""What the window of a deployment is counted in: sums that only grow, in plain functions.

A row is `WIDTH` whole numbers per class, row 0 for all classes together; a window is the difference
of two readings (`summary_window`). Whole numbers add up to the same in any order, so the rows of
several processes can be added and are what one process would have counted, all but the gaps between
arrivals, which are each process's own. The simulator compiles these functions, over arrays; hosts
call them as they stand, over lists. Both come to the same bits: lengths find their bin by whole
comparisons, times become whole microseconds once.
"""

# mypy: no-warn-return-any
# rows are arrays to the simulator and lists to hosts, so their elements are Any to mypy
from __future__ import annotations

from math import isqrt
from typing import Any, TypeAlias

import numpy as np

Row: TypeAlias = Any
"""`WIDTH` whole numbers: an int64 array when compiled, a list on a host."""
Rows: TypeAlias = Any
"""(classes, WIDTH) of them."""

COUNTERS = (
    "arrived", "gap_count", "gap_us", "gap_square_high", "gap_square_low", "prompt_count",
    "prompt_tokens", "finished", "slo_count", "attained", "output_count", "output_tokens",
    "queue_count", "queue_us", "ttft_count", "ttft_us", "tpot_count", "tpot_ns", "e2e_count",
    "e2e_us", "looked_up_tokens", "cached_tokens", "rejected", "preempted", "watched",
)  # fmt: skip
"""Names of the counters before the bins; what is a mean has its count right before it."""
(
    ARRIVED, GAPS, GAP_US, GAP_SQUARE_HIGH, GAP_SQUARE_LOW, PROMPTS, PROMPT_TOKENS,
    FINISHED, SLOS, ATTAINED, OUTPUTS, OUTPUT_TOKENS, BEGUN, QUEUE_US, TTFTS, TTFT_US,
    TPOTS, TPOT_NS, E2ES, E2E_US, LOOKED_UP_TOKENS, CACHED_TOKENS, REJECTED,
    PREEMPTED, WATCHED, PROMPT_BINS,
) = range(26)  # fmt: skip
BINS = 160  # of lengths, eight to the octave; the last takes all that is longer
OUTPUT_BINS = PROMPT_BINS + BINS
WIDTH = OUTPUT_BINS + BINS

LOWER_EDGES = np.array(
    [isqrt(isqrt(isqrt(1 << (k + 480)))) / 2**60 for k in range(BINS + 1)], np.float64
)
"""2 ** (k / 8), from whole roots: the same on every machine."""
FIRST_LENGTHS = np.array([1 + isqrt(isqrt(isqrt((1 << k) - 1))) for k in range(BINS + 1)], np.int64)
"""The shortest length in each bin: the least whole number whose eighth power reaches 2 ** k."""
_LOW_BITS = 30  # of a square stand in one sum, the others in another, so that neither overflows
GAP_HIGH = 2.0**_LOW_BITS
_MOST_GAP_US = 2**31 - 1  # whose square still fits: gaps count as 36 minutes at most
_MOST = 2.0**52


def length_bin(tokens: int) -> int:
    """Eighth-octave bin of a length."""
    low, high = 0, BINS  # the bin is in [low, high)
    while high - low > 1:
        middle = (low + high) // 2
        if tokens >= FIRST_LENGTHS[middle]:
            low = middle
        else:
            high = middle
    return low


def count_arrival(sums: Rows, latest_s: Row, class_id: int, now_s: float, tokens: int) -> None:
    """A request came in.

    Args:
        sums: rows of all classes.
        latest_s: when each class's latest request came in, NaN before the first; brought up to
            date.
        class_id: 1 or more.
        now_s: on a clock that never goes back.
        tokens: length of its prompt, below 1 when that is not known.
    """
    place = length_bin(tokens)
    for k in range(2):
        row, since_s = sums[k * class_id], latest_s[k * class_id]
        latest_s[k * class_id] = now_s
        row[ARRIVED] += 1
        if since_s == since_s:  # not NaN
            gap_us = min(int(_positive((now_s - since_s) * 1e6)), _MOST_GAP_US)
            row[GAPS] += 1
            row[GAP_US] += gap_us
            row[GAP_SQUARE_HIGH] += (gap_us * gap_us) >> _LOW_BITS
            row[GAP_SQUARE_LOW] += (gap_us * gap_us) & ((1 << _LOW_BITS) - 1)
        if tokens > 0:
            row[PROMPTS] += 1
            row[PROMPT_TOKENS] += tokens
            row[PROMPT_BINS + place] += 1


def count_rejected(sums: Rows, class_id: int) -> None:
    """A request was refused."""
    sums[0][REJECTED] += 1
    sums[class_id][REJECTED] += 1


def count_preempted(sums: Rows, class_id: int, times: int) -> None:
    """Engines were looked at, and had preempted running requests so often since the last look.

    Until somebody has looked, how often that happened is not known.
    """
    for k in range(2):
        sums[k * class_id][WATCHED] += 1
        sums[k * class_id][PREEMPTED] += times


def count_finished(
    sums: Rows,
    class_id: int,
    prompt_tokens: int,
    cached_tokens: int,
    output_tokens: int,
    waited_s: float,
    ttft_s: float,
    e2e_s: float,
    ttft_slo_s: float,
    tpot_slo_s: float,
    e2e_slo_s: float,
) -> None:
    """A request was answered in full; all that is known of it counts now, and only that.

    Args:
        sums: rows of all classes.
        class_id: 1 or more.
        prompt_tokens: length of its prompt, below 1 when that is not known.
        cached_tokens: of them found in a prefix cache when it began, -1 when that is not known.
        output_tokens: length of its answer, -1 when that is not known.
        waited_s: from arrival until it first entered a batch; NaN when that is not known.
        ttft_s, e2e_s: from arrival to first and last token; NaN likewise.
        ttft_slo_s, tpot_slo_s, e2e_slo_s: what was promised; what is not measured is not missed.
    """
    tpot_s = (e2e_s - ttft_s) / max(output_tokens - 1, 1)
    late = ttft_s > ttft_slo_s or tpot_s > tpot_slo_s or e2e_s > e2e_slo_s
    place = length_bin(output_tokens)
    for k in range(2):
        row = sums[k * class_id]
        row[FINISHED] += 1
        row[SLOS] += 1
        row[ATTAINED] += 0 if late else 1
        if output_tokens >= 0:
            row[OUTPUTS] += 1
            row[OUTPUT_TOKENS] += output_tokens
            row[OUTPUT_BINS + place] += 1
        if prompt_tokens > 0 and cached_tokens >= 0:
            row[LOOKED_UP_TOKENS] += prompt_tokens
            row[CACHED_TOKENS] += min(cached_tokens, prompt_tokens)
        _add(row, BEGUN, waited_s * 1e6)
        _add(row, TTFTS, ttft_s * 1e6)
        _add(row, TPOTS, tpot_s * 1e9)
        _add(row, E2ES, e2e_s * 1e6)


def _add(row: Row, place: int, value: float) -> None:
    """One more of a mean whose count stands at `place` and whose sum stands behind it."""
    if value == value:  # not NaN
        row[place] += 1
        row[place + 1] += int(_positive(value))


def _positive(value: float) -> float:
    """To be cut to a whole number: at least 0, rounded, and none that would not fit."""
    return min(max(value, 0.0), _MOST) + 0.5
