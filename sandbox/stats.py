"""Paired comparisons over windows: intervals for a mean log-ratio, and a test that checks them.

The unit is a window. Seeds and augmentations of one window are not independent, so they are
averaged first (`cluster_means`), and a window counts once. The compared quantity is the natural
logarithm of the reference's objective over the candidate's: positive means that the candidate is
better, and a mean over windows is the logarithm of a geometric mean.

The interval takes the farther end, on each side, of two: the studentised bootstrap (Efron &
Tibshirani, An Introduction to the Bootstrap, section 12.5), which follows skewed log-ratios, and
Student's t, which does not lean on the tails of a small sample. Alone, each is too narrow where
the other is not, and the percentile interval always is with 8 to 20 windows. Simulated coverage of
nominal 95 % (worst of normal, exponential, log-normal and Student-t(3) log-ratios; 4,000 samples;
`python benchmarks/interval_coverage.py`):

    windows   percentile   BCa    Student t   bootstrap-t   both (ours)
       8         82.7      84.3       88.4          92.6            93.0
      12         85.4      87.1       89.1          92.7            93.7
      20         88.1      88.6       89.7          92.7            93.9

Results are functions of the set of values: neither the order of windows nor their names count.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MIN_WINDOWS = 8  # fewer sealed units prove nothing
RESAMPLES = 10_000  # of a verdict's intervals
EXACT_WINDOWS = 32  # up to 2**32 sign patterns are counted, above they are sampled
_SAMPLED_PATTERNS = 1 << 16
_SMALLEST_SPREAD = 0.1  # of the sample's standard error: keeps a constant resample finite
_TAIL_RESAMPLES = 100  # at least so many resamples beyond each end of the interval
_HALVINGS = 60  # of a bracket, until a quantile is as exact as a float


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
    """Two-sided interval for the mean log-ratio of independent windows; see the module's text.

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
    mean, error = math.fsum(x) / x.size, _standard_error(x)
    if error <= 1e-12 * max(abs(mean), 1.0):  # equal up to rounding on every window
        return Interval(mean, mean, mean, 1.0 - 2.0 * tail, x.size)
    deviations = _studentised(x, mean, error, np.random.default_rng(seed), count)
    below, above = (float(q) for q in np.quantile(deviations, [tail, 1.0 - tail]))
    least = student_t_quantile(1.0 - tail, x.size - 1)
    low, high = mean - max(above, least) * error, mean - min(below, -least) * error
    return Interval(low, high, mean, 1.0 - 2.0 * tail, x.size)


def student_t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t with whole degrees of freedom, for probabilities from 0.5 on.

    Inverts the finite series of the distribution (Abramowitz & Stegun, 26.7.3 and 26.7.4).

    Raises:
        ValueError: no degree of freedom, or a probability outside 0.5 .. 1.
    """
    if freedom < 1 or not 0.5 <= probability < 1.0:
        raise ValueError("Give at least one degree of freedom and a probability in 0.5 .. 1.")
    low, high = 0.0, math.pi / 2.0  # of the angle whose tangent is t / sqrt(freedom)
    for _ in range(_HALVINGS):
        angle = (low + high) / 2.0
        if 0.5 + _t_mass(angle, freedom) / 2.0 < probability:
            low = angle
        else:
            high = angle
    return math.sqrt(freedom) * math.tan((low + high) / 2.0)


def sign_flip_p(log_ratios_per_window: Sequence[float] | Floats, *, seed: int = 0) -> float:
    """One-sided p-value of "no gain": share of sign patterns with a mean at least as large.

    Exact up to 32 windows (the smallest possible value is 2**-windows), above that 65,536 sampled
    patterns, the observed one included. Needs no distribution but symmetry around zero.

    Raises:
        ValueError: fewer than two windows, or a value that is not finite.
    """
    x = _checked(log_ratios_per_window)
    least = math.fsum(x) - 1e-12 * math.fsum(np.abs(x))
    if x.size <= EXACT_WINDOWS:
        # A pattern's sum is one of the first half's plus one of the second's.
        first, second = _signed_sums(x[: x.size // 2]), np.sort(_signed_sums(x[x.size // 2 :]))
        reached = second.size - np.searchsorted(second, least - first)
        return float(reached.sum()) / (first.size * second.size)
    rng = np.random.default_rng(seed)
    signs = rng.integers(0, 2, (_SAMPLED_PATTERNS, x.size)) * 2.0 - 1.0
    signs[0] = 1.0
    return float(np.mean(signs @ x >= least))


def compare(ratios: Sequence[float] | Floats, *, seed: int) -> tuple[Interval, float]:
    """Interval and p-value of log-ratios, one per unit: what a verdict and its record both use."""
    return paired_bootstrap(ratios, seed=seed, resamples=RESAMPLES), sign_flip_p(ratios, seed=seed)


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
    return np.sort(x)


def _t_mass(angle: float, freedom: int) -> float:
    """Probability that |t| is below sqrt(freedom) tan(angle)."""
    odd = freedom % 2
    square, total = math.cos(angle) ** 2, 0.0
    term = math.cos(angle) if odd else 1.0
    for power in range(odd, freedom - 1, 2):
        total += term
        term *= square * (power + 1) / (power + 2)
    mass = math.sin(angle) * total
    return 2.0 / math.pi * (angle + mass) if odd else mass


def _signed_sums(x: Floats) -> Floats:
    """The sums of all sign patterns, shape (2**size,)."""
    sums = np.zeros(1)
    for value in x:
        sums = np.concatenate([sums + value, sums - value])
    return sums


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
