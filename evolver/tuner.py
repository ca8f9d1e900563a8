"""Constant tuning: CMA-ES moves the named constants of one program, its structure stays.

Each constant lives on [0, 1] of its range, on a logarithmic scale when the range spans more than
a factor of ten; whole numbers use the margin that keeps CMA-ES from freezing on one of them
(Hamano et al., "CMA-ES with Margin", GECCO 2022). Ask and tell go by whole batches, so that the
result does not depend on how many workers score them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evolver.task import Tunable

Parameters = dict[str, float]
Point = NDArray[np.float64]
ScoreBatch = Callable[[Sequence[Parameters]], Sequence[float]]
"""Scores a batch of parameter sets, lower is better; may answer fewer when the budget ends."""

LOG_SPAN = 10.0
FIRST_STEP = 0.25  # of a range
SIGNIFICANT_DIGITS = 4  # people read these constants


@dataclass(frozen=True, slots=True)
class Axis:
    """How one constant maps to [0, 1]."""

    name: str
    low: float
    high: float
    integer: bool

    @property
    def logarithmic(self) -> bool:
        """A range over more than a factor of ten, without zero and not of whole numbers."""
        return not self.integer and self.low > 0 and self.high > LOG_SPAN * self.low

    @property
    def step(self) -> float:
        """Distance of two neighbours on [0, 1]; 0 for a continuous constant."""
        return 1.0 / (self.high - self.low) if self.integer else 0.0

    def to_unit(self, value: float) -> float:
        """Place of a value on [0, 1]."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def to_value(self, unit: float) -> float:
        """Value at a place on [0, 1], rounded as people would write it."""
        unit = min(max(unit, 0.0), 1.0)
        if self.logarithmic:
            value = self.low * (self.high / self.low) ** unit
        else:
            value = self.low + unit * (self.high - self.low)
        value = float(round(value)) if self.integer else float(f"{value:.{SIGNIFICANT_DIGITS}g}")
        return min(max(value, self.low), self.high)


@dataclass(frozen=True, slots=True)
class Tuning:
    """The best parameters found, their score and what they cost."""

    parameters: Parameters
    score: float
    tried: int


class Optimizer(Protocol):
    """What both optimizers of the `cmaes` package share."""

    @property
    def population_size(self) -> int:
        """Points per batch."""

    def ask(self) -> Point | tuple[Point, Point]:
        """A point, with margin also the point to tell the score with."""

    def tell(self, solutions: list[tuple[Point, float]]) -> None:
        """Take the scores of one batch."""

    def should_stop(self) -> bool:
        """Has it converged?"""


def axes_of(tunables: Sequence[Tunable]) -> list[Axis]:
    """The constants that can move at all."""
    return [Axis(t.name, t.low, t.high, t.integer) for t in tunables if t.high > t.low]


def tune(
    tunables: Sequence[Tunable],
    start: Mapping[str, float],
    start_score: float,
    score: ScoreBatch,
    *,
    seed: int,
    tries: int,
) -> Tuning:
    """Search from `start` for better constants with at most `tries` scored parameter sets.

    Never worse than the start. A score that is no number counts as infinitely bad.
    """
    axes = axes_of(tunables)
    best = Tuning(dict(start), start_score, 0)
    if not axes or tries < 1:
        return best
    optimizer = _optimizer(axes, start, seed)
    while best.tried < tries:
        points = [_ask(optimizer) for _ in range(optimizer.population_size)]
        batch = [_parameters(axes, point[0], start) for point in points][: tries - best.tried]
        scores = [s if math.isfinite(s) else math.inf for s in score(batch)]
        best = _better(best, batch, scores)
        if len(scores) < len(points):
            break
        optimizer.tell([(told, s) for (_, told), s in zip(points, _ranked(scores), strict=True)])
        if optimizer.should_stop():
            break
    return best


def _better(best: Tuning, batch: Sequence[Parameters], scores: Sequence[float]) -> Tuning:
    parameters, score = best.parameters, best.score
    for tried, result in zip(batch, scores, strict=False):
        if result < score:
            parameters, score = tried, result
    return Tuning(parameters, score, best.tried + len(scores))


def _ranked(scores: Sequence[float]) -> list[float]:
    """Ranks instead of scores: CMA-ES uses nothing else, and infinities upset its stop rules."""
    order = {value: float(rank) for rank, value in enumerate(sorted(set(scores)))}
    return [order[value] for value in scores]


def _optimizer(axes: Sequence[Axis], start: Mapping[str, float], seed: int) -> Optimizer:
    from cmaes import CMA, CMAwM

    # CMA-ES is not defined in one dimension: a second one that nothing reads goes along.
    padding = max(0, 2 - len(axes))
    mean = np.array([axis.to_unit(start[axis.name]) for axis in axes] + [0.5] * padding)
    steps = np.array([axis.step for axis in axes] + [0.0] * padding)
    bounds = np.tile([0.0, 1.0], (len(mean), 1))
    seed %= 2**32
    optimizer: Optimizer = (
        CMAwM(mean=mean, sigma=FIRST_STEP, bounds=bounds, steps=steps, seed=seed)
        if steps.any()
        else CMA(mean=mean, sigma=FIRST_STEP, bounds=bounds, seed=seed)
    )
    return optimizer


def _ask(optimizer: Optimizer) -> tuple[Point, Point]:
    """A point to score, and the point to tell its score with (they differ for whole numbers)."""
    asked = optimizer.ask()
    return asked if isinstance(asked, tuple) else (asked, asked)


def _parameters(axes: Sequence[Axis], point: Point, start: Mapping[str, float]) -> Parameters:
    moved = {axis.name: axis.to_value(float(point[i])) for i, axis in enumerate(axes)}
    return {**start, **moved}
