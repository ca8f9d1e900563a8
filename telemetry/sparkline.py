"""Small plots in block characters for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

_LEVELS = "▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BLANK = " "


def sparkline(values: Sequence[float], width: int = 60, low: float | None = None) -> str:
    """One line of up to ``width`` blocks, each the mean of an equal part of ``values``.

    Args:
        values: numbers in order; those that are not finite leave a gap.
        low: the value of the lowest block, by default 0 or the smallest value below it.
    """
    parts = _means(values, width)
    known = [part for part in parts if math.isfinite(part)]
    if not known:
        return ""
    bottom = min(0.0, *known) if low is None else low
    reach = max(known) - bottom
    top = len(_LEVELS) - 1
    return "".join(
        _LEVELS[min(top, max(0, round((part - bottom) / reach * top)))] if math.isfinite(part)
        and reach > 0 else (_LEVELS[0] if math.isfinite(part) else _BLANK) for part in parts)


def bars(rows: Sequence[tuple[str, float]], width: int = 30) -> list[str]:
    """One line a row: label, bar scaled to the greatest value, value; negatives have no bar."""
    if not rows:
        return []
    label_width = max(len(label) for label, _ in rows)
    greatest = max((value for _, value in rows if math.isfinite(value)), default=0.0)
    return [f"{label:<{label_width}} {_bar(value, greatest, width)} {value:g}"
            for label, value in rows]


def _bar(value: float, greatest: float, width: int) -> str:
    share = value / greatest if greatest > 0 and math.isfinite(value) else 0.0
    eighths = round(max(0.0, share) * width * 8)
    bar = _EIGHTHS[8] * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return f"{bar:<{width}}"


def _means(values: Sequence[float], width: int) -> list[float]:
    count = min(max(1, width), len(values))
    means = []
    for at in range(count):
        part = values[at * len(values) // count : (at + 1) * len(values) // count]
        known = [value for value in part if math.isfinite(value)]
        means.append(sum(known) / len(known) if known else math.nan)
    return means
