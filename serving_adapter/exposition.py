"""Counters, gauges and histograms, and the Prometheus text that shows them.

Hand-written because a host should need nothing but aiohttp and numpy. Label values come from this
program only (instance ids, outcomes, digests), never from a request, so their number stays small.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

M = TypeVar("M", "Counter", "Gauge", "Histogram")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def _number(value: float) -> str:
    """A float as Prometheus reads it back exactly: `+Inf`, `NaN`, or its shortest form."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(float(value))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = [f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True)]
    return "{" + ",".join(pairs) + "}" if pairs else ""


@dataclass(slots=True)
class Counter:
    """A sum that only grows, one per combination of label values."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    values: dict[tuple[str, ...], float] = field(default_factory=dict)
    kind: str = "counter"

    def inc(self, *labels: str, by: float = 1.0) -> None:
        """Add `by`, which must not be negative."""
        self.values[labels] = self.values.get(labels, 0.0) + by

    def value(self, *labels: str) -> float:
        """The present sum, 0 before the first `inc`."""
        return self.values.get(labels, 0.0)

    def lines(self) -> list[str]:
        """Sample lines of the text format, without the HELP and TYPE lines."""
        return [
            f"{self.name}{_labels(self.labels, key)} {_number(value)}"
            for key, value in sorted(self.values.items())
        ]


@dataclass(slots=True)
class Gauge(Counter):
    """A value that goes up and down."""

    kind: str = "gauge"

    def set(self, value: float, *labels: str) -> None:
        """Replace the value under these labels."""
        self.values[labels] = value

    def only(self, value: float, *labels: str) -> None:
        """Replace every series of this gauge by one; for `..._info` gauges."""
        self.values = {labels: value}


@dataclass(slots=True)
class Histogram:
    """Observations counted into cumulative buckets, with their sum."""

    name: str
    text: str
    bounds: tuple[float, ...]
    labels: tuple[str, ...] = ()
    counts: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    sums: dict[tuple[str, ...], float] = field(default_factory=dict)
    kind: str = "histogram"

    def observe(self, value: float, *labels: str) -> None:
        """Count one observation; a bucket includes its upper bound."""
        counts = self.counts.get(labels)
        if counts is None:
            counts = self.counts[labels] = [0] * (len(self.bounds) + 1)
        counts[bisect_left(self.bounds, value)] += 1
        self.sums[labels] = self.sums.get(labels, 0.0) + value

    def count(self, *labels: str) -> int:
        """Observations under these labels so far."""
        return sum(self.counts.get(labels, ()))

    def lines(self) -> list[str]:
        """Sample lines of the text format, without the HELP and TYPE lines."""
        lines: list[str] = []
        for key, counts in sorted(self.counts.items()):
            total = 0
            for bound, count in zip((*self.bounds, math.inf), counts, strict=True):
                total += count
                shown = _labels((*self.labels, "le"), (*key, _number(bound)))
                lines.append(f"{self.name}_bucket{shown} {total}")
            shown = _labels(self.labels, key)
            lines.append(f"{self.name}_sum{shown} {_number(self.sums[key])}")
            lines.append(f"{self.name}_count{shown} {total}")
        return lines


class Registry:
    """The metrics of one server, in the order they were made."""

    def __init__(self) -> None:
        self._metrics: dict[str, Counter | Histogram] = {}
        self._before: list[Callable[[], None]] = []

    def before_render(self, fill: Callable[[], None]) -> None:
        """Have metrics filled that are worked out only when somebody looks."""
        self._before.append(fill)

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """A new counter; the name must be new and end in `_total`."""
        return self._add(Counter(name, text, tuple(labels)))

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        """A new gauge; the name must be new."""
        return self._add(Gauge(name, text, tuple(labels)))

    def histogram(
        self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        """A new histogram with ascending upper bounds; +Inf is added."""
        return self._add(Histogram(name, text, tuple(bounds), tuple(labels)))

    def _add(self, metric: M) -> M:
        if metric.name in self._metrics:
            raise ValueError(f"Metric {metric.name} exists already: use another registry.")
        self._metrics[metric.name] = metric
        return metric

    def render(self) -> str:
        """Everything as Prometheus text, format 0.0.4."""
        for fill in self._before:
            fill()
        lines: list[str] = []
        for metric in self._metrics.values():
            lines.append(f"# HELP {metric.name} {metric.text}")
            lines.append(f"# TYPE {metric.name} {metric.kind}")
            lines.extend(metric.lines())
        return "\n".join(lines) + "\n"
