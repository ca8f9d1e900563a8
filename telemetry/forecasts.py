"""Forecasts of a series of monitoring points, each with an interval and its measured error.

Three ways: what is now goes on (`naive`), what was a season ago comes again (`seasonal`), and a
smoothed level (`smoothed`, simple exponential smoothing with three weights). Rates and lengths are
worked on as logarithms, so that errors are ratios. A `Forecaster` runs them all and answers with
the one whose errors at that horizon were the smallest so far; its interval is made of these errors.
A level over a daily course learned on the way was tried, too, and left out: it was worse than the
better of these on every development trace (docs/telemetry-numbers.md).

Errors are prequential: a forecast is judged when its moment has come, by what nobody knew before.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

INTERVAL = 0.8  # what a forecast's interval should cover
FADES = 0.02  # weight of the latest error in the mean error
FEWEST_ERRORS = 8
SMALLEST = 1e-3  # rates below count as this: an idle point is no minus infinity
_LEVEL_WEIGHTS = (0.1, 0.3, 0.6)


@dataclass(frozen=True, slots=True)
class Forecast:
    """A value to come: the middle, an interval that 80 % fall into, and how wrong it was.

    Attributes:
        method: which way it was made; error: its mean absolute log error so far, NaN when unknown.
    """

    value: float
    low: float
    high: float
    method: str
    error: float


@dataclass(slots=True)
class _Errors:
    """Absolute log errors of one method at one horizon: their mean and an upper quantile."""

    count: int = 0
    mean: float = 0.0
    wide: float = 0.0

    def learn(self, error: float) -> None:
        size = abs(error)
        self.count += 1
        weight = max(FADES, 1.0 / self.count)
        self.mean += weight * (size - self.mean)
        # A quantile by small steps: up where it was exceeded, down else (Robbins and Monro 1951).
        step = max(self.mean, 1e-9) * max(FADES, 0.5 / self.count) * 2.0
        self.wide += step * (INTERVAL if size > self.wide else INTERVAL - 1.0)
        self.wide = max(self.wide, 0.0)


@dataclass(slots=True)
class _Smoothed:
    """Simple exponential smoothing."""

    weight: float
    level: float = math.nan

    def learn(self, value: float) -> None:
        self.level = value if math.isnan(self.level) else self.level + self.weight * (
            value - self.level
        )  # fmt: skip


class Forecaster:
    """Forecasts one series at some horizons; `learn` each point, `ahead` gives a `Forecast`.

    Args:
        horizons: points ahead, at least 1 each.
        season: points in a day or another season; 0 for none.
    """

    def __init__(self, horizons: Sequence[int] = (1, 6), season: int = 0) -> None:
        self._horizons = tuple(horizons)
        self._season = season
        self._past: deque[float] = deque(maxlen=max(season, 1))
        self._levels = [_Smoothed(weight) for weight in _LEVEL_WEIGHTS]
        self._made: dict[int, deque[dict[str, float]]] = {
            h: deque(maxlen=h) for h in self._horizons
        }
        self.errors: dict[tuple[str, int], _Errors] = {}

    def learn(self, value: float) -> None:
        """One more point; one that is missing (NaN) is skipped, in time, too."""
        if not math.isfinite(value):
            return
        point = math.log(max(value, SMALLEST))
        for horizon, made in self._made.items():
            if len(made) == horizon:
                for method, expected in made[0].items():
                    errors = self.errors.setdefault((method, horizon), _Errors())
                    errors.learn(point - expected)
        self._past.append(point)
        for level in self._levels:
            level.learn(point)
        for horizon, made in self._made.items():
            made.append(dict(self._ways(horizon)))

    def ahead(self, horizon: int) -> Forecast | None:
        """The forecast so many points ahead; None before the first point.

        Raises:
            KeyError: a horizon that it was not made for.
        """
        made = self._made[horizon]
        if not made:
            return None
        latest = made[-1]
        method = min(latest, key=lambda name: (self._error(name, horizon), name != "naive"))
        errors = self.errors.get((method, horizon), _Errors())
        known = errors.count >= FEWEST_ERRORS
        spread = errors.wide if known else math.nan
        value = latest[method]
        return Forecast(
            math.exp(value), math.exp(value - spread), math.exp(value + spread), method,
            errors.mean if known else math.nan,
        )  # fmt: skip

    def said(self, horizon: int) -> dict[str, float]:
        """What each way expects so many points ahead; empty before the first point."""
        made = self._made[horizon]
        return {name: math.exp(value) for name, value in made[-1].items()} if made else {}

    def _error(self, method: str, horizon: int) -> float:
        errors = self.errors.get((method, horizon))
        return math.inf if errors is None or errors.count < FEWEST_ERRORS else errors.mean

    def _ways(self, horizon: int) -> Iterator[tuple[str, float]]:
        yield "naive", self._past[-1]
        for level in self._levels:
            yield f"smoothed {level.weight:g}", level.level
        if self._season and len(self._past) == self._season and horizon <= self._season:
            yield "seasonal", self._past[horizon - 1]
