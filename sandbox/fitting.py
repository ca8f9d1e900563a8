"""Fits a profile's terms to measured times: robust least squares on log ratios, with a prior.

The simulator is not differentiable but nearly linear in the terms, so Gauss-Newton with finite
differences needs few runs. Each residual is ln(simulated / measured); an error of `TOLERANCE`
weighs as much as a term one prior deviation from its default. Beyond it a residual pulls linearly
(Huber, Robust Estimation of a Location Parameter, 1964), so a mislabelled row moves little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sandbox.profiles import Profile

Floats = NDArray[np.float64]
Residuals = Callable[[Profile], Floats]

TOLERANCE = 0.05
ROUNDS = 6
_STEP = 0.5  # of a prior deviation, for finite differences: far above the simulator's roughness
_FARTHEST = 6.0  # prior deviations


@dataclass(frozen=True, slots=True)
class Prior:
    """Where a term is expected: `center`, give or take `deviation`; factors count in logarithms."""

    center: float
    deviation: float
    factor: bool = False

    def value(self, z: float) -> float:
        """The term at `z` deviations from its center; overheads end at zero."""
        if self.factor:
            return float(self.center * np.exp(z * self.deviation))
        return max(0.0, self.center + z * self.deviation)


PRIORS = {
    "step_overhead_ps": Prior(1.0e9, 1.0e9),
    "sequence_overhead_ps": Prior(0.0, 2.0e7),
    "request_overhead_ps": Prior(2.0e10, 1.5e10),
    "all_reduce_scale": Prior(1.0, 0.5, factor=True),
    "compute_scale": Prior(1.0, 0.15, factor=True),
    "decode_scale": Prior(1.0, 0.1, factor=True),
    "context_scale": Prior(1.0, 0.3, factor=True),
}
"""Deviations say what is usual: a millisecond of host time per step, 20 us per sequence, kernels
15 % off their table under sustained load, attention 30 % off between kernel versions, and
all-reduce over PCIe several times what one host measured."""


def fit(
    profile: Profile, residuals: Residuals, names: Sequence[str] = tuple(PRIORS)
) -> Profile:
    """The profile with the named terms fitted.

    Args:
        profile: where the fit starts; terms not named stay as they are.
        residuals: ln(simulated / measured) under a profile, weighted, shape (m,), NaN ignored.
        names: terms to fit; all-reduce is left out when the profile has none.
    """
    able = [name for name in names if name != "all_reduce_scale" or _all_reduces(profile)]
    z = np.zeros(len(able))
    now = _clean(residuals(_at(profile, able, z)))
    slope = _slopes(profile, able, residuals, now)
    for _ in range(ROUNDS):
        step = _step(slope, now, z)
        for share in (1.0, 0.5, 0.25):
            trial = np.clip(z + share * step, -_FARTHEST, _FARTHEST)
            then = _clean(residuals(_at(profile, able, trial)))
            if _loss(then, trial) < _loss(now, z):
                z, now = trial, then
                break
        else:
            break
    return _at(profile, able, z)


def _all_reduces(profile: Profile) -> bool:
    return bool(profile.all_reduce_tokens_ps.any() or profile.all_reduce_batch_ps.any())


def _at(profile: Profile, names: Sequence[str], z: Floats) -> Profile:
    return profile.calibrated(
        **{name: PRIORS[name].value(float(x)) for name, x in zip(names, z, strict=True)}
    )


def _slopes(
    profile: Profile, names: Sequence[str], residuals: Residuals, now: Floats
) -> Floats:
    """Finite differences at the defaults, shape (m, terms); the rounds after keep them."""
    columns = []
    for k in range(len(names)):
        z = np.zeros(len(names))
        z[k] = _STEP
        columns.append((_clean(residuals(_at(profile, names, z))) - now) / _STEP)
    return np.stack(columns, axis=1)


def _step(slope: Floats, now: Floats, z: Floats) -> Floats:
    """The step that solves the linearised, reweighted problem with its prior."""
    weight = 1.0 / np.maximum(np.abs(now) / TOLERANCE, 1.0)
    steep = slope / TOLERANCE
    left = steep.T @ (weight[:, None] * steep) + np.eye(len(z))
    right = steep.T @ (weight * now / TOLERANCE) + z
    return np.asarray(-np.linalg.solve(left, right), np.float64)


def _clean(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, 0.0)


def _loss(values: Floats, z: Floats) -> float:
    size = np.abs(values) / TOLERANCE
    return float(np.where(size < 1.0, size * size, 2.0 * size - 1.0).sum() + (z * z).sum())
