"""Measures how often nominal 95 % intervals over few windows hold the true mean.

    python benchmarks/interval_coverage.py [samples]

Prints, for each number of windows, the worst coverage over four distributions of log-ratios.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from sandbox.stats import Floats, paired_bootstrap, student_t_quantile

WINDOWS = (8, 12, 20)
NORMAL = NormalDist()
DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "exponential": lambda rng, n: rng.exponential(size=n) - 1.0,
    "log-normal": lambda rng, n: rng.lognormal(0.0, 0.8, n) - math.exp(0.32),
    "Student t(3)": lambda rng, n: rng.standard_t(3, n),
}


def percentile(_: Floats, means: Floats) -> tuple[float, float]:
    """Plain percentiles of the resampled means."""
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def bca(x: Floats, means: Floats) -> tuple[float, float]:
    """Bias-corrected and accelerated percentiles."""
    below = float(np.mean(means < x.mean()) + np.mean(means <= x.mean())) / 2.0
    z0 = NORMAL.inv_cdf(min(max(below, 1e-4), 1.0 - 1e-4))
    jackknife = (x.sum() - x) / (x.size - 1)
    d = jackknife.mean() - jackknife
    a = float((d**3).sum() / (6.0 * (d**2).sum() ** 1.5))
    ends = [z0 + NORMAL.inv_cdf(p) for p in (0.025, 0.975)]
    low, high = np.quantile(means, [NORMAL.cdf(z0 + z / (1.0 - a * z)) for z in ends])
    return float(low), float(high)


def student_t(x: Floats, _: Floats) -> tuple[float, float]:
    """The textbook interval for normal values."""
    half = student_t_quantile(0.975, x.size - 1) * float(x.std(ddof=1)) / math.sqrt(x.size)
    return float(x.mean()) - half, float(x.mean()) + half


def bootstrap_t(x: Floats, resampled: Floats) -> tuple[float, float]:
    """The studentised bootstrap alone."""
    error = float(x.std(ddof=1)) / math.sqrt(x.size)
    errors = np.maximum(resampled.std(axis=1, ddof=1) / math.sqrt(x.size), 0.1 * error)
    below, above = np.quantile((resampled.mean(axis=1) - x.mean()) / errors, [0.025, 0.975])
    return float(x.mean() - above * error), float(x.mean() - below * error)


def coverage(draw: Callable[[np.random.Generator, int], Floats], n: int, samples: int) -> Floats:
    """Share of samples whose interval holds zero: percentile, BCa, Student t, bootstrap-t, ours."""
    rng, hits = np.random.default_rng(7), np.zeros(5)
    for sample in range(samples):
        x = draw(rng, n)
        resampled = x[rng.integers(0, n, (2000, n))]
        means = resampled.mean(axis=1)
        ends = [method(x, means) for method in (percentile, bca, student_t)]
        ends.append(bootstrap_t(x, resampled))
        ours = paired_bootstrap(x, seed=sample)
        hits += [low <= 0.0 <= high for low, high in [*ends, (ours.low, ours.high)]]
    return hits / samples


def main() -> None:
    """Print the table."""
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    print(f"{'windows':>7}  {'distribution':14} percentile    BCa  Student t  bootstrap-t   ours")
    for n in WINDOWS:
        rows = {name: coverage(draw, n, samples) for name, draw in DISTRIBUTIONS.items()}
        rows["worst"] = np.min(list(rows.values()), axis=0)
        for name, row in rows.items():
            cells = "".join(f"{x:{w}.3f}" for x, w in zip(row, (11, 7, 11, 13, 7), strict=True))
            print(f"{n:7}  {name:14}{cells}")


if __name__ == "__main__":
    main()
