"""Whether traffic is another than at the last search, by how far apart the two regimes are."""

from __future__ import annotations

import math
from collections.abc import Mapping

from evolver.daemon.protocols import Change, Ground, Stretch
from evolver.exercised import exercised_hooks
from evolver.regimes import AXES, distance, regime_of
from telemetry.window import summarise

RATE = "rate_rps"
RATE_UNIT = 1.25  # as the axis of the load has it


class RegimeShift:
    """Compares regimes axis by axis, and the rate, which is no axis of its own.

    Args:
        units: a distance that counts as another regime.
    """

    def __init__(self, units: float) -> None:
        self._units = units

    def features(self, stretch: Stretch, ground: Ground) -> Mapping[str, float]:
        """The regime of a stretch, and its rate in requests a second."""
        hooks = exercised_hooks(stretch.trace, ground.cluster, ground.capacity is not None)
        capacity = ground.capacity.trace if ground.capacity is not None else None
        window = summarise(stretch.trace, capacity)
        regime = regime_of(stretch.trace, window, ground.cluster, hooks)
        return {**regime, RATE: float(f"{window.whole.rate_rps:.6g}")}

    def change(self, before: Mapping[str, float], after: Mapping[str, float]) -> Change:
        """How far apart, and in what most."""
        if not before:
            return Change(None, True, "Nothing is known of earlier traffic.")
        rates = [max(one.get(RATE, 0.0), 1e-6) for one in (before, after)]
        rate = abs(math.log(rates[0] / rates[1])) / math.log(RATE_UNIT)
        units = math.hypot(distance(before, after), rate)
        parts = {
            name: axis.between(before[name], after[name]) for name, axis in AXES.items()
            if name in before and name in after
        } | {RATE: rate}  # fmt: skip
        most = max(parts, key=lambda name: parts[name])
        words = (
            f"Traffic is {units:.1f} units of regime from what was searched on, most in "
            f"{most.replace('_', ' ')} ({before.get(most, 0.0):.3g} to {after.get(most, 0.0):.3g})."
        )
        return Change(units, units >= self._units, words)
