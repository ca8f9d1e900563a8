"""The savings of the online experiment as one SVG file: a dot and its interval for each pair."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from evolver.online.comparison import BEST, DEPLOYED, Saving
from sandbox.report_svg import ticks

ROW, LEFT, RIGHT, TOP, WIDTH, BOTTOM = 34, 150, 30, 46, 760, 40
SHOWN = (("no evolution", "#2f6fde"), (DEPLOYED, "#b5470f"), (BEST, "#7a3fb5"),
         ("whole", "#0e7490"))  # fmt: skip
LEAST, MOST = -0.5, 0.5  # an interval may be endless; what is beyond is cut at the frame


def svg_of(found: Mapping[str, Sequence[Saving]]) -> str:
    """A picture by itself: savings with 95 % intervals, pairs from top to bottom."""
    rows = [(pair, _shown(savings)) for pair, savings in found.items()]
    ends = [end for _, marks in rows for one, _ in marks for end in (one.gain, one.low, one.high)]
    known = [min(max(end, LEAST), MOST) for end in ends if math.isfinite(end)] or [0.0]
    low, high = min(-0.02, *known), max(0.02, *known)
    height = TOP + ROW * len(rows) + BOTTOM

    def across(share: float) -> float:
        held = min(max(share, low), high)
        return LEFT + (held - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    parts = [_words(LEFT, 16, "Total time that evolving saves, 95 % intervals", "start")]
    for tick in ticks(low, high, 8):
        x = across(tick)
        colour = "#667085" if abs(tick) < 1e-9 else "#d9dee6"
        parts.append(_line(x, TOP - 6, x, height - BOTTOM, colour))
        parts.append(_words(x, height - BOTTOM + 18, f"{100 * tick:g} %", "middle"))
    for k, (name, colour) in enumerate(SHOWN):
        x = LEFT + 150 * k
        parts.append(_dot(x, 32, colour) + _words(x + 8, 36, f"against {name}", "start"))
    for row, (pair, marks) in enumerate(rows):
        middle = TOP + ROW * (row + 0.5)
        parts.append(_words(LEFT - 10, middle + 4, pair, "end"))
        for place, (one, colour) in enumerate(marks):
            parts.append(_mark(one, colour, middle + 6.0 * (place - 1.5), across))
    body = "".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="system-ui, sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>{body}</svg>\n'
    )


def _shown(savings: Sequence[Saving]) -> list[tuple[Saving, str]]:
    by_rival = {one.rival: one for one in savings}
    return [(by_rival[name], colour) for name, colour in SHOWN if name in by_rival]


def _mark(one: Saving, colour: str, y: float, across: Callable[[float], float]) -> str:
    line = ""
    if math.isfinite(one.low) and math.isfinite(one.high):
        line = _line(across(one.low), y, across(one.high), y, colour)
    return line + _dot(across(one.gain), y, colour)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="1.5"/>'


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'


def _words(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
