"""Whether traffic is another than at the last search: by a change detector, and by its regime.

A detector sees one monitoring point after another and says what changed, from what to what and
since when (`telemetry.drift`). What it has seen before a restart it sees again, from the segments.
Slow changes escape every detector; so the regime of the last hour is also compared with the one
that was searched on, axis by axis. What rate is expected next is told with every answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from evolver.daemon.protocols import Change, Ground, Stretch
from evolver.exercised import exercised_hooks
from evolver.regimes import AXES, distance, regime_of
from telemetry.drift import Detector, Drift, DriftSettings, features_of
from telemetry.forecasts import Forecaster
from telemetry.window import summarise

RATE = "rate_rps"
RATE_UNIT = 1.25  # as the axis of the load has it
AHEAD = 10  # points that are looked ahead
DAY_S = 86_400.0
FEWEST = 5  # requests of a point; fewer say nothing but that there were few


class TrafficShift:
    """Belongs to the thread of the turns.

    Args:
        units: a distance that counts as another regime.
        point_s: of one monitoring point, on the wall clock; 0 leaves the detector out.
    """

    def __init__(
        self, units: float, point_s: float = 60.0, settings: DriftSettings | None = None
    ) -> None:
        self._units, self._point_s, self._settings = units, point_s, settings
        self._detector = Detector(settings)
        season = round(DAY_S / point_s) if point_s > 0.0 else 0
        self._forecaster = Forecaster((AHEAD,), season)
        self._seen_unix_s = -math.inf
        self._last: Drift | None = None

    def see(self, stretch: Stretch) -> None:
        """Show detector and forecaster every whole point of a stretch that they have not seen."""
        if self._point_s <= 0.0:
            return
        speed = stretch.trace.span_s / max(stretch.until_unix_s - stretch.began_unix_s, 1e-9)
        first = math.ceil(max(stretch.began_unix_s, self._seen_unix_s) / self._point_s - 1e-9)
        last = math.floor(stretch.until_unix_s / self._point_s)
        for number in range(first, last):
            start = (number * self._point_s - stretch.began_unix_s) * speed
            part = stretch.trace.slice(max(start, 0.0), start + self._point_s * speed)
            at = (number + 1) * self._point_s
            found = {RATE: len(part) / self._point_s / speed}
            if len(part) >= FEWEST:
                found |= features_of(summarise(part))
            self._last = self._detector.observe(found, at) or self._last
            self._forecaster.learn(found[RATE])
            self._seen_unix_s = at

    def features(self, stretch: Stretch, ground: Ground) -> Mapping[str, float]:
        """The regime of a stretch, and its rate in requests a second."""
        hooks = exercised_hooks(stretch.trace, ground.cluster, ground.capacity is not None)
        capacity = ground.capacity.trace if ground.capacity is not None else None
        window = summarise(stretch.trace, capacity)
        regime = regime_of(stretch.trace, window, ground.cluster, hooks)
        return {**regime, RATE: float(f"{window.whole.rate_rps:.6g}")}

    def change(
        self, before: Mapping[str, float], after: Mapping[str, float], searched_unix_s: float
    ) -> Change:
        """A drift since the last search first, then how far apart the regimes are."""
        if not before:
            return Change(None, True, f"Nothing is known of earlier traffic.{self._expected()}")
        units, words = self._apart(before, after)
        words += self._expected()
        drift = self._last
        if drift is not None and drift.at_s > searched_unix_s:
            what = ", ".join(f"{c.feature} {c.before:.3g} to {c.after:.3g}" for c in drift.changes)
            return Change(units, True, f"Traffic has changed: {what}. {words}", drift.since_s)
        return Change(units, units >= self._units, words)

    def _expected(self) -> str:
        """A sentence, once a forecast has been wrong often enough to say by how much."""
        forecast = self._forecaster.ahead(AHEAD)
        if forecast is None or math.isnan(forecast.error):
            return ""
        return (
            f" In {AHEAD * self._point_s / 60.0:.3g} minutes {forecast.value:.3g} requests/s are "
            f"expected ({forecast.low:.3g} to {forecast.high:.3g} in four cases of five)."
        )

    def _apart(self, before: Mapping[str, float], after: Mapping[str, float]) -> tuple[float, str]:
        rates = [max(one.get(RATE, 0.0), 1e-6) for one in (before, after)]
        rate = abs(math.log(rates[0] / rates[1])) / math.log(RATE_UNIT)
        units = math.hypot(distance(before, after), rate)
        parts = {
            name: axis.between(before[name], after[name]) for name, axis in AXES.items()
            if name in before and name in after
        } | {RATE: rate}  # fmt: skip
        most = max(parts, key=lambda name: parts[name])
        return units, (
            f"It is {units:.1f} units of regime from what was searched on, most in "
            f"{most.replace('_', ' ')} ({before.get(most, 0.0):.3g} to {after.get(most, 0.0):.3g})."
        )
