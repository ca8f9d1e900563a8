"""Agreement of two rankings: Kendall's tau-b with ties, pooled over cells, with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Signs = NDArray[np.int64]
RESAMPLES = 10_000
LOW_PERCENT, HIGH_PERCENT = 2.5, 97.5


@dataclass(frozen=True)
class Agreement:
    """Counts of one cell; sums of cells are the counts of all of them.

    Attributes:
        score: concordant less discordant pairs.
        ours, theirs: pairs that each side tells apart; discordant: told apart the other way.
        pairs: all of them.
    """

    score: int
    ours: int
    theirs: int
    discordant: int
    pairs: int

    @property
    def tau(self) -> float:
        """Kendall's tau-b; NaN when a side tells no pair apart."""
        told = math.sqrt(self.ours * self.theirs)
        return self.score / told if told > 0 else math.nan


def signs(values: ArrayLike, error: float = 0.0) -> Signs:
    """Which of each pair is larger, shape (n, n): -1, 0 or 1.

    Args:
        values: n positive numbers.
        error: pairs that differ by no more than this share of the smaller one are ties.
    """
    table = np.asarray(values, np.float64)
    difference = table[:, None] - table[None, :]
    smaller = np.minimum(table[:, None], table[None, :])
    return np.where(np.abs(difference) <= error * smaller, 0, np.sign(difference)).astype(np.int64)


def compare(
    ours: ArrayLike, theirs: ArrayLike, error: float = 0.0, joint: bool = True
) -> Agreement:
    """Count a cell's pairs.

    Args:
        error: see `signs`. joint: a pair that is a tie on one side is a tie on both, so that only
            pairs are judged which both sides tell apart by more than the error.
    """
    mine, other = signs(ours, error), signs(theirs, error)
    if joint:
        told = (mine != 0) & (other != 0)
        mine, other = np.where(told, mine, 0), np.where(told, other, 0)
    upper = np.triu_indices(len(mine), 1)
    a, b = mine[upper], other[upper]
    return Agreement(
        score=int((a * b).sum()),
        ours=int((a != 0).sum()),
        theirs=int((b != 0).sum()),
        discordant=int((a * b < 0).sum()),
        pairs=len(a),
    )


def total(cells: Sequence[Agreement]) -> Agreement:
    """All pairs of all cells together."""
    return Agreement(
        sum(c.score for c in cells),
        sum(c.ours for c in cells),
        sum(c.theirs for c in cells),
        sum(c.discordant for c in cells),
        sum(c.pairs for c in cells),
    )


def interval(cells: Sequence[Agreement], seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of the pooled tau-b; whole cells are drawn, as their pairs hang
    together."""
    counts = np.array([(c.score, c.ours, c.theirs) for c in cells], np.float64)
    draws = np.random.default_rng(seed).integers(0, len(cells), (RESAMPLES, len(cells)))
    score, ours, theirs = counts[draws].sum(axis=1).T
    told = np.sqrt(ours * theirs)
    taus = score[told > 0] / told[told > 0]
    if len(taus) == 0:
        return math.nan, math.nan
    low, high = np.percentile(taus, [LOW_PERCENT, HIGH_PERCENT])
    return float(low), float(high)


def discordant_pairs(
    names: Sequence[str], ours: ArrayLike, theirs: ArrayLike, error: float
) -> list[tuple[str, str]]:
    """(better in ours, better in theirs) of every pair that is told apart the other way."""
    against = np.argwhere(signs(ours, error) * signs(theirs, error) < 0)
    smaller = signs(ours, error)
    return [(names[i], names[j]) for i, j in against if smaller[i, j] < 0]
