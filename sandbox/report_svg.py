"""Curves as one inline SVG figure: axes with round numbers, a step line or dots for each series."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from sandbox.report import Curves, Series, plain

WIDTH, HEIGHT = 480, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 60, 12, 40
COLOURS = ("--mark", "--second", "--third", "--fourth")
DASHES = ("", "7 3", "2 3", "9 3 2 3")  # colour alone tells not everybody which is which
LABEL = 13  # height of one
MAX_POINTS = 4000  # of one series; a figure shows no more


@dataclass(frozen=True, slots=True)
class Frame:
    """The ranges of both axes, and where a point of them is in the picture."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    @classmethod
    def around(cls, curves: Curves) -> Frame | None:
        """What holds every finite point and 0; None when there is no point."""
        points = [point for series in curves.series for point in finite(series)]
        if not points:
            return None
        xs = [x for x, _ in points]
        ys = [0.0, *(y for _, y in points)]
        if curves.level is not None and math.isfinite(curves.level[1]):
            ys.append(curves.level[1])
        x_low, x_high, y_low, y_high = min(0.0, *xs), max(xs), min(ys), max(ys)
        return cls(x_low, max(x_high, x_low + 1e-9), y_low, max(y_high, y_low + 1e-6))

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Across and down, in the picture's own units."""
        across = (x - self.x_low) / (self.x_high - self.x_low)
        up = (y - self.y_low) / (self.y_high - self.y_low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (
            HEIGHT - TOP - BOTTOM
        )


def finite(series: Series) -> list[tuple[float, float]]:
    """The points that can be drawn."""
    return [(x, y) for x, y in series.points if math.isfinite(x) and math.isfinite(y)]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers between two others, about `count` of them."""
    raw = (high - low) / max(count, 1)
    if not raw > 0:
        return [low]
    size: float = 10.0 ** math.floor(math.log10(raw))
    step = next((size * k for k in (1, 2, 5) if size * k >= raw), size * 10)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def figure_of(curves: Curves) -> str:
    """The figure; nothing when there is nothing to draw."""
    frame = Frame.around(curves)
    if frame is None:
        return ""
    parts = [*_axes(frame, curves), *_level(frame, curves)]
    for place, series in enumerate(curves.series):
        parts += _drawn(frame, series, place)
    parts += _ends(frame, curves)
    legend = _legend(curves.series)
    # What a script needs to read values off the lines; nothing is drawn by it.
    ends = f"{frame.x_low:g} {frame.x_high:g} {frame.y_low:g} {frame.y_high:g}"
    data = (
        f'data-frame="{ends}" data-box="{LEFT} {WIDTH - RIGHT} {HEIGHT - BOTTOM} {TOP}" '
        f'data-across="{_text(curves.across)}" data-unit="{_text(curves.unit)}"'
    )
    return (
        f'<figure class="curves"><svg class="curves" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{_text(curves.title)}" {data}>{"".join(parts)}</svg>'
        f"<figcaption>{_text(curves.title)}{legend}</figcaption></figure>"
    )


def _axes(frame: Frame, curves: Curves) -> Iterator[str]:
    right = WIDTH - RIGHT
    values = ticks(frame.y_low, frame.y_high)
    whole = all(abs(value * 100 - round(value * 100)) < 1e-6 for value in values)
    for y in values:
        _, down = frame.at(0.0, y)
        yield _across(down, "--line")
        words = _value(y, curves.unit, 0 if whole else 1)
        yield _words(LEFT - 6, down + 4, words, "end")
    for x in ticks(frame.x_low, frame.x_high):
        along, _ = frame.at(x, 0.0)
        yield _words(along, HEIGHT - BOTTOM + 16, f"{x:g}", "middle")
    yield _words((LEFT + right) / 2, HEIGHT - 6, curves.across, "middle")


def _level(frame: Frame, curves: Curves) -> Iterator[str]:
    if curves.level is None or not math.isfinite(curves.level[1]):
        return
    name, y = curves.level
    _, down = frame.at(0.0, y)
    yield _across(down, "--dim", "4 3")
    yield _words(WIDTH - RIGHT - 4, down - 4, name, "end")


def _value(value: float, unit: str, digits: int = 1) -> str:
    if unit == "%":
        return f"{value * 100:.{digits}f}%"
    return f"{value:.3g} {unit}".strip() if abs(value) < 1000 else f"{value:.0f} {unit}".strip()


def _ends(frame: Frame, curves: Curves) -> Iterator[str]:
    """The last value of each line beside its end, none over another, the same one said once."""
    lines = [finite(series)[-1] for series in curves.series if not series.dots and finite(series)]
    found = sorted((*frame.at(x, y)[::-1], _value(y, curves.unit)) for x, y in lines)
    below, said = -math.inf, ""
    for down, across, words in found:
        if words == said and down - below < LABEL:
            continue
        below, said = max(down, below + LABEL), words
        yield _words(across + 7, below + 4, words, "start", "value")


def _drawn(frame: Frame, series: Series, place: int) -> Iterator[str]:
    colour, dash = COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]
    points = [frame.at(x, y) for x, y in finite(series)[:MAX_POINTS]]
    if not points:
        return
    if series.dots:
        for across, down in points:
            yield f'<circle cx="{across:.1f}" cy="{down:.1f}" r="2.5" fill="var({colour})"/>'
        return
    first, last = points[0], points[-1]
    steps = "".join(f"H{across:.1f}V{down:.1f}" for across, down in points[1:])
    line = f"M{first[0]:.1f} {first[1]:.1f}{steps}"
    name = f'data-name="{_text(series.name)}"'
    yield f'<path d="{line}" fill="none" {name} {_stroke(colour, 2, dash)}/>'
    yield f'<circle cx="{last[0]:.1f}" cy="{last[1]:.1f}" r="3.5" fill="var({colour})"/>'


def _legend(series: Sequence[Series]) -> str:
    if len(series) < 2:
        return ""
    entries = []
    for place, one in enumerate(series):
        colour, dash = COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]
        mark = (
            f'<circle cx="13" cy="5" r="3" fill="var({colour})"/>'
            if one.dots
            else f'<path d="M0 5H26" {_stroke(colour, 2, dash)}/>'
        )
        key = f'<svg class="key" viewBox="0 0 26 10" aria-hidden="true">{mark}</svg>'
        entries.append(f'<span class="entry">{key} {_text(one.name)}</span>')
    return f"<br>{' '.join(entries)}"


def _across(down: float, colour: str, dash: str = "") -> str:
    ends = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down:.1f}" y2="{down:.1f}"'
    return f"<line {ends} {_stroke(colour, 1, dash)}/>"


def _stroke(colour: str, width: int = 1, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'stroke="var({colour})" stroke-width="{width}"{dashed}'


def _words(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{_text(words)}</text>'


def _text(text: str) -> str:
    return escape(plain(text))
