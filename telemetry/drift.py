"""Says when traffic or capacity has changed its ways: what changed, from what to what, since when.

Each feature of a monitoring point (see `features_of`) is put on a scale on which equal changes are
equal steps, in units of its own spread over the points since the last drift, without outliers. An
adaptive window (ADWIN of the river library) watches each. When one of them shrinks, the point is
sought that parts the past best in two, and it counts as a drift if the two parts differ by more
than `Watched.least`: what is too small to matter is only taken up into what is usual. Which test,
and with what settings, was measured: docs/telemetry-numbers.md.

    detector = Detector()
    drift = detector.observe(features_of(window), now_s)

At most twice `DriftSettings.points` points are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from telemetry.errors import TelemetryError
from telemetry.window import Window

Floats = NDArray[np.float64]
_MAD = 1.4826  # median absolute deviation to standard deviation, of a normal distribution


class RiverMissing(TelemetryError):
    """The library of change detectors is not installed."""


class Test(Protocol):
    """What this module needs of a detector of river."""

    @property
    def drift_detected(self) -> bool:
        """Whether the latest value gave the alarm."""

    def update(self, x: float) -> object:
        """One more value."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One feature: whether by ratio (or by difference), and the least change that matters."""

    by_ratio: bool
    least: float

    def scaled(self, value: float) -> float:
        """On the scale where equal changes are equal steps."""
        return math.log(max(value, 1e-6)) if self.by_ratio else value

    def value(self, scaled: float) -> float:
        """Back from there."""
        return math.exp(scaled) if self.by_ratio else scaled


FEATURES: Mapping[str, Watched] = {
    "rate_rps": Watched(True, math.log(1.3)),
    "prompt_tokens": Watched(True, math.log(1.25)),
    "output_tokens": Watched(True, math.log(1.25)),
    "burstiness": Watched(True, math.log(1.5)),
    "reuse": Watched(False, 0.1),
    "sessions": Watched(False, 0.15),
    "capacity": Watched(True, math.log(1.1)),
}


@dataclass(frozen=True, slots=True)
class DriftSettings:
    """How patient a detector is.

    Attributes:
        points: monitoring points that are kept when there are twice as many.
        warm_up: points after which it begins to watch.
        delta: confidence of the tests, shared by the features.
        least_after: points that a change must have lasted.
        clip: standard deviations beyond which a value counts no further.
    """

    points: int = 720
    warm_up: int = 20
    delta: float = 0.0035
    least_after: int = 3
    clip: float = 3.0


@dataclass(frozen=True, slots=True)
class Change:
    """One feature's usual value before and since; means of logarithms where it goes by ratio."""

    feature: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Drift:
    """Things are no longer as they were.

    Attributes:
        at_s: when it was noticed; since_s: when it began, as far as the points tell.
        changes: every feature that changed then, the one that gave the alarm first.
    """

    at_s: float
    since_s: float
    changes: tuple[Change, ...]

    def to_json(self) -> dict[str, object]:
        """Plain dictionaries, lists and numbers."""
        return asdict(self)

    def describe(self) -> str:
        """One sentence."""
        parts = ", ".join(f"{c.feature} {c.before:.4g} -> {c.after:.4g}" for c in self.changes)
        return f"{parts}, since {self.at_s - self.since_s:.0f} s"


def features_of(window: Window) -> dict[str, float]:
    """The features of one monitoring point; what is not known there is left out."""
    whole, parts = window.whole, window.structure
    if not whole.requests:
        return {"rate_rps": 0.0}
    found = {
        "rate_rps": whole.rate_rps,
        "prompt_tokens": whole.prompt_tokens.mean,
        "output_tokens": whole.output_tokens.mean,
        "burstiness": whole.cv_iat,
        "reuse": parts.reuse_share,
        "sessions": parts.sessions * parts.turns.mean / whole.requests,
        "capacity": None if window.capacity is None else window.capacity.mean,
    }
    return {name: value for name, value in found.items() if value is not None}


def adaptive_window(settings: DriftSettings) -> Test:
    """The test that watches one feature.

    Raises:
        RiverMissing: the library is not installed.
    """
    try:
        from river.drift import ADWIN
    except ImportError as missing:
        raise RiverMissing(
            "Drift is watched with the river library: pip install 'evolver[daemon]'."
        ) from missing
    share = settings.delta / len(FEATURES)
    test: Test = ADWIN(delta=share, clock=1, grace_period=10)  # type: ignore[no-untyped-call]  # river's
    return test


@dataclass(slots=True)
class _Feature:
    """One feature's points since the last drift, and the test that has seen them."""

    watched: Watched
    values: list[float] = field(default_factory=list)  # on its scale, NaN where missing
    centre: float = math.nan
    spread: float = math.nan
    test: Test | None = None


class Detector:
    """Watches monitoring points as they come, one call of `observe` a point.

    Args:
        settings: how patient it is.
        test: makes the test that watches one feature.
    """

    def __init__(
        self,
        settings: DriftSettings | None = None,
        test: Callable[[DriftSettings], Test] = adaptive_window,
    ) -> None:
        self._settings = settings or DriftSettings()
        self._test = test
        self._times: list[float] = []
        self._features = {name: _Feature(watched) for name, watched in FEATURES.items()}

    def observe(self, features: Mapping[str, float], now_s: float) -> Drift | None:
        """Take one monitoring point in; the drift that it makes certain, if any.

        Args:
            features: by the names of `FEATURES`; others are ignored, NaN is missing.
            now_s: never decreasing.
        """
        self._times.append(now_s)
        fired = []
        for name, feature in self._features.items():
            given = features.get(name, math.nan)
            known = math.isfinite(given)
            feature.values.append(feature.watched.scaled(given) if known else math.nan)
            if self._watch(feature):
                fired.append(name)
        drift = next((found for name in fired if (found := self._drift(name, now_s))), None)
        if drift is not None:
            self._keep(next(k for k, at_s in enumerate(self._times) if at_s >= drift.since_s))
        elif len(self._times) >= 2 * self._settings.points:
            self._keep(self._settings.points)
        return drift

    def __len__(self) -> int:
        """Points that it keeps."""
        return len(self._times)

    def _keep(self, first: int) -> None:
        """Forget the points before one, and see the rest again with fresh tests."""
        self._times = self._times[first:]
        for feature in self._features.values():
            later = feature.values[first:]
            feature.values, feature.test = [], None
            for value in later:
                feature.values.append(value)
                self._watch(feature)

    def _watch(self, feature: _Feature) -> bool:
        """Show the latest point to the feature's test; does it fire?"""
        latest = feature.values[-1]
        if feature.test is None:
            known = [v for v in feature.values if not math.isnan(v)]
            if len(known) < self._settings.warm_up:
                return False
            feature.centre = float(np.median(known))
            deviation = float(np.median(np.abs(np.array(known) - feature.centre)))
            feature.spread = max(_MAD * deviation, feature.watched.least / 3.0)
            feature.test = self._test(self._settings)
            for value in known:
                feature.test.update(self._standard(feature, value))
            return False
        if math.isnan(latest):
            return False
        feature.test.update(self._standard(feature, latest))
        return bool(feature.test.drift_detected)

    def _standard(self, feature: _Feature, value: float) -> float:
        clip = self._settings.clip
        return min(max((value - feature.centre) / feature.spread, -clip), clip)

    def _drift(self, name: str, now_s: float) -> Drift | None:
        """The drift that an alarm of one feature stands for; None when it is too small."""
        first = self._split(self._features[name])
        if first is None:
            return None
        others = [other for other in self._features if other != name]
        found = [self._change(other, first) for other in (name, *others)]
        if found[0] is None:
            return None
        changes = tuple(change for change in found if change is not None)
        return Drift(now_s, self._times[first], changes)

    def _split(self, feature: _Feature) -> int | None:
        """The first point of the later part, where two means explain the points best."""
        standard = [self._standard(feature, v) for v in feature.values if not math.isnan(v)]
        places = [k for k, v in enumerate(feature.values) if not math.isnan(v)]
        after = self._settings.least_after
        if len(standard) < 2 * after:
            return None
        sums = np.cumsum(standard)
        n, total = len(standard), float(sums[-1])
        left = np.arange(after, n - after + 1)
        gain = (sums[left - 1] - total * left / n) ** 2 * n / (left * (n - left))
        return places[int(left[int(np.argmax(gain))])]

    def _change(self, name: str, first: int) -> Change | None:
        """What one feature did at a point; None when too little, or when nothing is known."""
        feature = self._features[name]
        before, after = _known(feature.values[:first]), _known(feature.values[first:])
        least = self._settings.least_after
        if len(before) < least or len(after) < least:
            return None
        low, high = float(np.median(before)), float(np.median(after))
        if abs(high - low) < feature.watched.least:
            return None
        return Change(name, feature.watched.value(low), feature.watched.value(high))


def _known(values: Sequence[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]
