"""Paired comparisons over windows: intervals for a mean log-ratio, and a test that checks them.

The unit is a window. Seeds and augmentations of one window are not independent, so they are
averaged first (`cluster_means`), and a window counts once. The compared quantity is the natural
logarithm of the reference's objective over the candidate's: positive means that the candidate is
better, and a mean over windows is the logarithm of a geometric mean.

The interval is a studentised bootstrap (Efron & Tibshirani, An Introduction to the Bootstrap,
section 12.5): with 8 to 20 windows the percentile interval is too narrow. Simulated coverage of
nominal 95 % (worst of normal, exponential, log-normal and Student-t(3) log-ratios; 4,000 samples;
`python benchmarks/interval_coverage.py`):

    windows   percentile   BCa    Student t   studentised bootstrap
       8         82.7      84.3       88.4            92.6
      12         85.4      87.1       89.1            92.9
      20         88.1      88.6       89.7            92.8
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MIN_WINDOWS = 8  # fewer sealed windows prove nothing
EXACT_WINDOWS = 16  # up to 2**16 sign patterns are enumerated, above they are sampled
_SMALLEST_SPREAD = 0.1  # of the sample's standard error: keeps a constant resample finite
_TAIL_RESAMPLES = 100  # at least so many resamples beyond each end of the interval


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean log-ratio and the range that holds it with the stated confidence.

    Attributes:
        low: lower end, in log-ratio.
        high: upper end.
        mean: mean over windows.
        confidence: of this one interval, after the correction for several candidates.
        windows: number of independent units.
    """

    low: float
    high: float
    mean: float
    confidence: float
    windows: int

    @property
    def improved(self) -> bool:
        """Whether the whole interval is on the candidate's side."""
        return self.low > 0.0

    @property
    def worse(self) -> bool:
        """Whether the whole interval is on the reference's side."""
        return self.high < 0.0


def relative_gain(log_ratio: float) -> float:
    """Share of the reference's objective that the candidate saves: 1 - exp(-log_ratio)."""
    return -math.expm1(-log_ratio)


def log_ratios(reference: Sequence[float], candidate: Sequence[float]) -> Floats:
    """ln(reference / candidate) of paired positive objectives; positive: the candidate is better.

    Raises:
        ValueError: lengths differ, or an objective is not positive and finite.
    """
    a, b = np.asarray(reference, np.float64), np.asarray(candidate, np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError("Pairs need two sequences of equal length: score both on the same runs.")
    if not all(np.isfinite(x).all() and (x > 0.0).all() for x in (a, b)):
        raise ValueError("Objectives must be positive and finite: charge faults as the worst case.")
    return np.asarray(np.log(a) - np.log(b), np.float64)


def cluster_means(values: Sequence[float] | Floats, clusters: Sequence[Hashable]) -> Floats:
    """One value per cluster, in order of first appearance: the mean of its members.

    Raises:
        ValueError: the lengths differ.
    """
    members: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        members.setdefault(cluster, []).append(float(value))
    return np.array([math.fsum(group) / len(group) for group in members.values()])


def paired_bootstrap(
    log_ratios_per_window: Sequence[float] | Floats,
    *,
    seed: int,
    resamples: int = 4000,
    confidence: float = 0.95,
    comparisons: int = 1,
) -> Interval:
    """Two-sided studentised bootstrap interval for the mean log-ratio of independent windows.

    Args:
        log_ratios_per_window: one value per window.
        seed: equal seeds give equal intervals.
        resamples: at least; a corrected interval takes as many as its tails need.
        confidence: of all `comparisons` intervals together.
        comparisons: candidates that reached the same gate (Bonferroni).

    Raises:
        ValueError: fewer than two windows, a value that is not finite, or senseless options.
    """
    x = _checked(log_ratios_per_window)
    if not 0.0 < confidence < 1.0 or comparisons < 1 or resamples < 100:
        raise ValueError("Give a confidence within 0..1, comparisons >= 1 and resamples >= 100.")
    tail = (1.0 - confidence) / comparisons / 2.0
    count = max(resamples, math.ceil(_TAIL_RESAMPLES / tail))
    mean, error = float(x.mean()), _standard_error(x)
    if error <= 1e-12 * max(abs(mean), 1.0):  # equal up to rounding on every window
        return Interval(mean, mean, mean, 1.0 - 2.0 * tail, x.size)
    deviations = _studentised(x, mean, error, np.random.default_rng(seed), count)
    below, above = np.quantile(deviations, [tail, 1.0 - tail])
    low, high = mean - float(above) * error, mean - float(below) * error
    return Interval(low, high, mean, 1.0 - 2.0 * tail, x.size)


def sign_flip_p(log_ratios_per_window: Sequence[float] | Floats, *, seed: int = 0) -> float:
    """One-sided p-value of "no gain": share of sign patterns with a mean at least as large.

    Exact up to 16 windows (the smallest possible value is 2**-windows), above that 65,536 sampled
    patterns, the observed one included. Needs no distribution but symmetry around zero.

    Raises:
        ValueError: fewer than two windows, or a value that is not finite.
    """
    x = _checked(log_ratios_per_window)
    if x.size <= EXACT_WINDOWS:
        patterns = (np.arange(1 << x.size)[:, None] >> np.arange(x.size)) & 1
        signs = 1.0 - 2.0 * patterns
    else:
        rng = np.random.default_rng(seed)
        signs = rng.integers(0, 2, (1 << EXACT_WINDOWS, x.size)) * 2.0 - 1.0
        signs[0] = 1.0
    slack = 1e-12 * float(np.abs(x).sum())
    return float(np.mean(signs @ x >= float(x.sum()) - slack))


def gain_by_window(
    reference: Mapping[str, float], candidate: Mapping[str, float], unit: Mapping[str, str]
) -> Floats:
    """Log-ratio of each unit: runs that share a unit (seeds, augmentations) are averaged.

    Args:
        reference: objective of each run by its name.
        candidate: the same runs.
        unit: the window that each run belongs to.

    Raises:
        ValueError: the runs differ, or an objective is not positive and finite.
    """
    runs = sorted(reference)
    if runs != sorted(candidate) or not set(runs) <= set(unit):
        raise ValueError("Both policies must be scored on the same runs, each with its window.")
    ratios = log_ratios([reference[r] for r in runs], [candidate[r] for r in runs])
    return cluster_means(ratios, [unit[r] for r in runs])


def _checked(values: Sequence[float] | Floats) -> Floats:
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or x.size < 2:
        raise ValueError("An interval needs at least two windows: replay more of the trace.")
    if not np.isfinite(x).all():
        raise ValueError("A log-ratio is not finite: charge faults as the worst case.")
    return x


def _standard_error(x: Floats) -> float:
    return float(x.std(ddof=1)) / math.sqrt(x.size)


def _studentised(
    x: Floats, mean: float, error: float, rng: np.random.Generator, count: int
) -> Floats:
    """(mean of resample - mean) / standard error of resample, `count` times."""
    pieces = []
    for start in range(0, count, 65_536):
        resampled = x[rng.integers(0, x.size, (min(65_536, count - start), x.size))]
        spread = resampled.std(axis=1, ddof=1) / math.sqrt(x.size)
        np.maximum(spread, _SMALLEST_SPREAD * error, out=spread)
        pieces.append((resampled.mean(axis=1) - mean) / spread)
    return np.concatenate(pieces)
