"""Small pictures as SVG without a style or a script: intervals beside numbers, and curves.

Axes, steps and legends of curves are those of reports (`sandbox.report_svg`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from sandbox.report import Curves
from sandbox.report_svg import figure_of, ticks
from sandbox.stats import relative_gain

WIDTH, HEIGHT, EDGE = 240, 22, 8
CONFINED = 1.0  # gains are drawn up to so much; beyond, the bar ends in an arrow


@dataclass(frozen=True, slots=True)
class Span:
    """A gain and what it lies between, as shares: 0.05 is 5 % less than the other's."""

    low: float
    mean: float
    high: float

    @classmethod
    def of_ratios(cls, low: float, mean: float, high: float) -> Span:
        """From log-ratios, as intervals hold them; beyond e**50 nobody measures anything."""
        least, middle, most = (relative_gain(max(min(x, 50.0), -50.0)) for x in (low, mean, high))
        return cls(least, middle, most)

    @property
    def tone(self) -> str:
        """Which side of nothing all of it is on: "good", "bad", or "dim" for neither."""
        return "good" if self.low > 0.0 else "bad" if self.high < 0.0 else "dim"

    @property
    def words(self) -> str:
        """As text, for who does not see the picture."""
        return f"{percent(self.mean)}, from {percent(self.low)} to {percent(self.high)}"


@dataclass(frozen=True, slots=True)
class Scale:
    """One axis for all bars of a table, so that they can be compared by eye."""

    low: float
    high: float

    @classmethod
    def around(cls, spans: Iterable[Span]) -> Scale:
        """What holds every span, and no difference, with some room."""
        ends = [0.0] + [_confined(x) for span in spans for x in (span.low, span.high)]
        room = 0.06 * max(max(ends) - min(ends), 0.01)
        return cls(min(ends) - room, max(ends) + room)

    def at(self, gain: float) -> float:
        """Across, in the picture's own units."""
        share = (_confined(gain) - self.low) / (self.high - self.low)
        return EDGE + min(max(share, 0.0), 1.0) * (WIDTH - 2 * EDGE)

    def bar(self, span: Span, band: Span | None = None) -> Markup:
        """One span as a line with a mark at its mean; `band` is one to compare it with."""
        left, mean, right = self.at(span.low), self.at(span.mean), self.at(span.high)
        middle = HEIGHT / 2
        parts = []
        if band is not None:
            parts.append(
                f'<rect class="band" x="{self.at(band.low):.1f}" y="0" height="{HEIGHT}" '
                f'width="{max(self.at(band.high) - self.at(band.low), 1.0):.1f}"/>'
            )
        parts.append(_upright(self.at(0.0), "zero"))
        if right - left > 0.5:
            parts.append(
                f'<path class="reach" d="M{left:.1f} {middle}H{right:.1f}'
                f'M{left:.1f} {middle - 4}v8M{right:.1f} {middle - 4}v8"/>'
            )
        parts.append(_mark(mean, middle, span.tone))
        return _picture(span.tone, span.words, parts)

    def axis(self) -> Markup:
        """The axis that all bars share."""
        texts = [
            f'<text x="{self.at(value):.1f}" y="{HEIGHT - 7}" text-anchor="middle">'
            f"{100 * value:+g}</text>".replace(">+0<", ">0<")
            for value in ticks(self.low, self.high, 4)
        ]
        words = f"axis from {percent(self.low)} to {percent(self.high)}"
        return _picture("axis", words, texts)


def curves(drawn: Curves) -> Markup:
    """A figure of curves; nothing when there is nothing to draw."""
    return Markup(figure_of(drawn))  # noqa: S704 - it escapes every text


def percent(share: float) -> str:
    """A gain in words: +5.3 %."""
    digits = 1 if abs(share) < CONFINED else 0
    return f"{100 * share:+.{digits}f} %" if math.isfinite(share) else "beyond measure"


def _confined(gain: float) -> float:
    return min(max(gain, -CONFINED), CONFINED) if not math.isnan(gain) else 0.0


def _mark(across: float, down: float, tone: str) -> str:
    """A shape for each tone: colour alone tells not everybody which it is."""
    if tone == "good":
        return f'<circle class="mark" cx="{across:.1f}" cy="{down}" r="4.5"/>'
    if tone == "bad":
        return f'<path class="mark" d="M{across:.1f} {down - 5.5}l5.5 5.5-5.5 5.5-5.5-5.5z"/>'
    return f'<circle class="mark hollow" cx="{across:.1f}" cy="{down}" r="4"/>'


def _upright(across: float, kind: str) -> str:
    return f'<path class="{kind}" d="M{across:.1f} 0v{HEIGHT}"/>'


def _picture(tone: str, words: str, parts: Iterable[str]) -> Markup:
    return Markup(  # noqa: S704 - numbers, and words that are escaped
        f'<svg class="gain {tone}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-label="{escape(words)}">{"".join(parts)}</svg>'
    )
