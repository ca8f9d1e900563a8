"""Arrival times drawn as a renewal process whose rate and burstiness change piece by piece."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Family = Literal["gamma", "weibull"]
_BATCH_MIN = 16


def gamma_shape(cv: ArrayLike) -> NDArray[np.float64]:
    """Shape of the gamma law with coefficient of variation ``cv``: 1 / cv**2, within 1e-3..1e6."""
    squares = np.square(np.clip(np.asarray(cv, np.float64), 1e-3, 30.0))
    return np.asarray(1.0 / squares)


def renewal_times(
    edges_s: ArrayLike, rates_rps: ArrayLike, shapes: ArrayLike, rng: np.random.Generator,
    family: Family = "gamma",
) -> NDArray[np.float64]:
    """Arrival times in ``[edges_s[0], edges_s[-1])``, sorted.

    Inter-arrival times of mean 1 are drawn in the time in which the rate is 1 (the integral of
    the rate) and mapped back, so that a burst runs on across the edge of a piece and each piece
    keeps its mean rate. The first draw is the residual of a size-biased one, so that the process
    starts in its steady state and bursty pieces are not inflated.

    Args:
        edges_s: float ``[k + 1]``, rising. rates_rps: float ``[k]``, at least 0.
        shapes: float ``[k]``, shape of the gamma or Weibull inter-arrival law, above 0.
    """
    edges, rates = np.asarray(edges_s, np.float64), np.asarray(rates_rps, np.float64)
    shape = np.asarray(shapes, np.float64)
    mass = np.concatenate([[0.0], np.cumsum(rates * np.diff(edges))])
    found: list[NDArray[np.float64]] = []
    at = -1.0
    for piece in np.flatnonzero(rates > 0):
        if at < 0:
            at = float(mass[piece]) + _residual(float(shape[piece]), family, rng)
        drawn, at = _piece(at, float(mass[piece + 1]), float(shape[piece]), family, rng)
        found.append(edges[piece] + (drawn - mass[piece]) / rates[piece])
    times = np.concatenate(found) if found else np.zeros(0)
    return np.asarray(np.minimum(times, np.nextafter(edges[-1], edges[0])))


def _piece(
    at: float, end: float, shape: float, family: Family, rng: np.random.Generator
) -> tuple[NDArray[np.float64], float]:
    """Renewals from ``at`` up to ``end`` in unit-rate time, and the first one beyond."""
    parts: list[NDArray[np.float64]] = []
    while at < end:
        count = max(_BATCH_MIN, int((end - at) * 1.1))
        steps = _unit_mean(shape, family, rng, count)
        chain = at + np.concatenate([[0.0], np.cumsum(steps)])
        inside = int(np.searchsorted(chain, end))
        parts.append(chain[: min(inside, count)])
        at = float(chain[min(inside, count)])
    return (np.concatenate(parts) if parts else np.zeros(0)), at


def _unit_mean(
    shape: float, family: Family, rng: np.random.Generator, count: int
) -> NDArray[np.float64]:
    if family == "gamma":
        return rng.gamma(shape, 1.0 / shape, count)
    return np.asarray(rng.weibull(shape, count) / math.gamma(1.0 + 1.0 / shape))


def _residual(shape: float, family: Family, rng: np.random.Generator) -> float:
    """Time to the first renewal of a process in its steady state (size-biased draw, cut)."""
    cut = float(rng.random())
    if family == "gamma":
        return cut * float(rng.gamma(shape + 1.0, 1.0 / shape))
    biased = math.pow(rng.gamma(1.0 + 1.0 / shape, 1.0), 1.0 / shape)
    return cut * biased / math.gamma(1.0 + 1.0 / shape)
