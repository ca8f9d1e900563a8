"""Quantile tables: a distribution as its values at fixed cumulative shares."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Cumulative shares at which every quantile table is given.
LEVELS = (0.0, 0.01, 0.025, *(round(0.05 * step, 2) for step in range(1, 20)), 0.975, 0.99, 0.995,
          1.0)
Table = tuple[float, ...]


def table(values: NDArray[Any]) -> Table:
    """Quantiles of a column at `LEVELS`, by linear interpolation."""
    return tuple(float(value) for value in np.quantile(values, LEVELS))


def is_table(values: Sequence[float]) -> bool:
    """Whether these are finite quantiles at `LEVELS` that never fall."""
    return len(values) == len(LEVELS) and all(map(math.isfinite, values)) and all(
        low <= high for low, high in itertools.pairwise(values))


def draw(quantiles: Table, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of a table at ``uniform`` (within 0..1): linear between levels, geometric at the top.

    The last level reaches from the 99.5 % quantile to the maximum, where a straight line would
    make the tail too fat.
    """
    values = np.interp(uniform, LEVELS, quantiles)
    low, high, knee = quantiles[-2], quantiles[-1], LEVELS[-2]
    if high > low > 0:
        part = np.clip((uniform - knee) / (1.0 - knee), 0.0, 1.0)
        values = np.where(uniform > knee, low * (high / low) ** part, values)
    return np.asarray(values)
