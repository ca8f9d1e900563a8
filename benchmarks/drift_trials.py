"""Stationary stretches and planted changes to try drift detectors on, made of real traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from telemetry.drift import Detector, DriftSettings, Test, features_of
from telemetry.trace import Trace
from telemetry.window import summarise

Point = Mapping[str, float]
STRETCH = 60  # points of one stretch of a trace: taken to be one regime
BLOCK = 5  # points drawn together, so that what hangs together stays so
STATIONARY = 1440  # points of a day of one-minute points
BEFORE, AFTER, REPEATS = 90, 60, 6
FEWEST_REQUESTS = 3  # a point, of a stretch that is worth trying
CHANGES = ("rate x2", "lengths x1.5", "mix", "no reuse")
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Trial:
    """A stretch of a trace as points, as it was and under each change."""

    trace: str
    period_s: float
    usual: Sequence[Point]
    changed: Mapping[str, Sequence[Point]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one detector did on the trials of one trace.

    Attributes:
        false_per_day: alarms a day of the trace's points in which nothing changed.
        delays: points from each planted change to its alarm, None where there was none.
    """

    false_per_day: float
    delays: Mapping[str, Sequence[int | None]]


def period_of(trace: Trace) -> float:
    """Seconds of a monitoring point that has a few requests and comes often enough."""
    return 10.0 if trace.span_s < 3600.0 else 60.0 if trace.rate_rps > 0.05 else 3600.0


def points_of(trace: Trace, period_s: float) -> list[dict[str, float]]:
    """Features of each whole period."""
    count = int(trace.span_s // period_s)
    cuts = ((k * period_s, (k + 1) * period_s) for k in range(count))
    return [features_of(summarise(trace.slice(start, stop))) for start, stop in cuts]


def trials_of(trace: Trace) -> Iterator[Trial]:
    """Up to three stretches; what a request waited for is dropped, its arrival stays."""
    period_s = period_of(trace)
    count = int(trace.span_s // period_s)
    length, many = min(STRETCH, count), 3 if count >= 3 * STRETCH else 1
    opened = _opened(trace)
    for k in range(many if count > 2 * BLOCK else 0):
        start = (count - length) * (k + 0.5) / many * period_s
        part = opened.slice(start, start + length * period_s)
        if len(part) < FEWEST_REQUESTS * length:
            continue
        usual = points_of(part, period_s)
        made = {
            "rate x2": points_of(part.scale_rate(2.0), period_s),
            "lengths x1.5": points_of(_longer(part, 1.5), period_s),
            "mix": points_of(_half(part), period_s),
        }
        if np.mean([point.get("reuse", 0.0) for point in usual]) > 0.15:
            made["no reuse"] = [{**point, "reuse": 0.0} for point in usual]
        yield Trial(trace.meta.name, period_s, usual, made)


def tried(
    trials: Sequence[Trial], settings: DriftSettings, test: Callable[[DriftSettings], Test]
) -> Finding:
    """Run a detector over drawn days without a change, and over planted changes."""
    alarms, days = 0, 0.0
    delays: dict[str, list[int | None]] = {}
    for number, trial in enumerate(trials):
        rng = np.random.default_rng([7, number])
        detector = Detector(settings, test)
        drawn = _drawn(rng, trial.usual, STATIONARY)
        times = np.arange(STATIONARY) * trial.period_s
        alarms += sum(
            detector.observe(p, t) is not None for p, t in zip(drawn, times.tolist(), strict=True)
        )
        days += STATIONARY * trial.period_s / DAY_S
        for change, points in trial.changed.items():
            found = (_delay(rng, trial.usual, points, settings, test) for _ in range(REPEATS))
            delays.setdefault(change, []).extend(found)
    return Finding(alarms / days, delays)


def _delay(
    rng: np.random.Generator, usual: Sequence[Point], changed: Sequence[Point],
    settings: DriftSettings, test: Callable[[DriftSettings], Test],
) -> int | None:  # fmt: skip
    detector = Detector(settings, test)
    points = [*_drawn(rng, usual, BEFORE), *_drawn(rng, changed, AFTER)]
    for k, point in enumerate(points):
        if detector.observe(point, float(k)) is not None and k >= BEFORE:
            return k - BEFORE + 1
    return None


def _drawn(rng: np.random.Generator, points: Sequence[Point], count: int) -> list[Point]:
    """So many points, in blocks from anywhere in the stretch."""
    drawn: list[Point] = []
    while len(drawn) < count:
        first = int(rng.integers(0, max(1, len(points) - BLOCK + 1)))
        drawn += points[first : first + BLOCK]
    return drawn[:count]


def _opened(trace: Trace) -> Trace:
    n = len(trace)
    return replace(
        trace, after=np.full(n, -1), think_s=np.zeros(n), join_offsets=np.zeros(n + 1, np.int64),
        join_rows=np.zeros(0, np.int32),
    )  # fmt: skip


def _longer(trace: Trace, factor: float) -> Trace:
    """Prompts and answers so many times as long."""
    return Trace.of(
        trace.meta, arrival_s=trace.arrival_s, tenant=trace.tenant, tenants=trace.tenants,
        prompt_tokens=np.rint(trace.prompt_tokens * factor), session=trace.session,
        output_tokens=np.rint(trace.output_tokens * factor), turn=trace.turn, blocks=trace.blocks,
        span_s=trace.span_s,
    )  # fmt: skip


def _half(trace: Trace) -> Trace:
    """The tenants with the longer answers, or the longer prompts of one tenant, as often as all."""
    value = trace.prompt_tokens.astype(np.float64)
    if len(np.unique(trace.tenant)) > 1:
        counts = np.bincount(trace.tenant, minlength=len(trace.tenants))
        sums = np.bincount(trace.tenant, trace.output_tokens, minlength=len(trace.tenants))
        value = (sums / np.maximum(counts, 1))[trace.tenant]
    kept = value > np.median(value)
    if kept.mean() < 0.2:
        kept = value >= np.median(value)
    half = Trace.of(
        trace.meta, arrival_s=trace.arrival_s[kept], prompt_tokens=trace.prompt_tokens[kept],
        output_tokens=trace.output_tokens[kept], tenant=trace.tenant[kept], tenants=trace.tenants,
        session=trace.session[kept], turn=trace.turn[kept], span_s=trace.span_s,
    )  # fmt: skip
    return half.scale_rate(1.0 / float(kept.mean()))
