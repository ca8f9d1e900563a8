"""Curves in a terminal: one line of box characters for each series, told apart without colours."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sandbox.report import Curves, Series
from sandbox.report_svg import Frame, finite

# across, up, from below to the right, from the left down, from above to the right, left up
LINES = ("─│╭╮╰╯", "━┃┏┓┗┛", "═║╔╗╚╝", "╌╎┌┐└┘")
LEVEL, DOT = "┄", "·"
LABEL = 9  # columns of the numbers at the left


def drawn(curves: Curves, width: int = 64, height: int = 8) -> list[str]:
    """The lines of the picture, the axis and the legend; none when there is nothing to draw."""
    frame = Frame.around(curves)
    if frame is None:
        return []
    canvas = [[" "] * width for _ in range(height)]
    if curves.level is not None and math.isfinite(curves.level[1]):
        canvas[_row(frame, curves.level[1], height)] = [LEVEL] * width
    for place, series in enumerate(curves.series):
        _draw(canvas, frame, series, LINES[place % len(LINES)])
    return [*_labelled(canvas, frame), *_axis(frame, curves.across, width), *_legend(curves)]


def _draw(canvas: list[list[str]], frame: Frame, series: Series, marks: str) -> None:
    width, height = len(canvas[0]), len(canvas)
    points = finite(series)
    if series.dots:
        for x, y in points:
            canvas[_row(frame, y, height)][_column(frame, x, width)] = DOT
        return
    before: int | None = None
    for column, value in enumerate(_sampled(frame, points, width)):
        if value is None:
            continue
        row = _row(frame, value, height)
        if before is None or row == before:
            canvas[row][column] = marks[0]
        else:
            _turn(canvas, column, before, row, marks)
        before = row


def _turn(canvas: list[list[str]], column: int, before: int, row: int, marks: str) -> None:
    """From one row to another within a column."""
    rising = row < before
    canvas[before][column] = marks[5] if rising else marks[3]
    canvas[row][column] = marks[2] if rising else marks[4]
    for between in range(min(row, before) + 1, max(row, before)):
        canvas[between][column] = marks[1]


def _sampled(frame: Frame, points: Sequence[tuple[float, float]], width: int) -> list[float | None]:
    """The value that holds in each column; None before the first point and after the last."""
    columns: list[float | None] = [None] * width
    for (x, y), (until, _) in zip(points, (*points[1:], points[-1]), strict=True):
        for column in range(_column(frame, x, width), _column(frame, until, width) + 1):
            columns[column] = y
    return columns


def _row(frame: Frame, y: float, height: int) -> int:
    return round((frame.y_high - y) / (frame.y_high - frame.y_low) * (height - 1))


def _column(frame: Frame, x: float, width: int) -> int:
    return round((x - frame.x_low) / (frame.x_high - frame.x_low) * (width - 1))


def _labelled(canvas: list[list[str]], frame: Frame) -> list[str]:
    height = len(canvas)
    named = {0: frame.y_high, height // 2: None, height - 1: frame.y_low}
    lines = []
    for row, cells in enumerate(canvas):
        value = frame.y_high - row / (height - 1) * (frame.y_high - frame.y_low)
        label = f"{value * 100:.1f}%" if row in named else ""
        lines.append(f"{label:>{LABEL - 2}} {'┤' if label else '│'}{''.join(cells)}".rstrip())
    return lines


def _axis(frame: Frame, across: str, width: int) -> list[str]:
    start, end = f"{frame.x_low:.4g}", f"{frame.x_high:.4g} {across}"
    gap = " " * max(width - len(start) - len(end), 1)
    return [" " * (LABEL - 1) + "└" + "─" * width, " " * LABEL + start + gap + end]


def _legend(curves: Curves) -> list[str]:
    words = []
    if len(curves.series) > 1:
        words += [
            f"{DOT if series.dots else LINES[place % len(LINES)][0] * 2} {series.name}"
            for place, series in enumerate(curves.series)
        ]
    if curves.level is not None:
        words.append(f"{LEVEL * 2} {curves.level[0]} {curves.level[1] * 100:.1f}%")
    return [" " * LABEL + line for line in words]
