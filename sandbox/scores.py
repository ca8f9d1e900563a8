"""What a candidate is and what it scored on one window, as plain data that crosses processes.

A score travels from an untrusted process as JSON, so reading one back checks every type and range
and knows nothing else: a number that is not finite, a name that is no name or a window that was
not asked for is a `MalformedScore`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from sandbox.identity import source_digest

WORST_OBJECTIVE_S = 1e6  # of a window on which a candidate crashed, hung or was refused
MAX_METRICS = 256

_METRIC_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.@/-]{0,63}")
_FAULT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_NOTHING: Mapping[str, float] = MappingProxyType({})


class MalformedScore(ValueError):
    """A reply that is no list of scores for the windows asked for."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy to score: its source text, and parameters that replace the constants as written."""

    source_text: str
    parameters: Mapping[str, float] | None = None

    @property
    def source_digest(self) -> str:
        """Equal for candidates that differ in their parameters only."""
        return source_digest(self.source_text)


@dataclass(frozen=True, slots=True)
class WindowScore:
    """One policy on one window (a scenario).

    Attributes:
        window: name of the scenario.
        objective: mean end-to-end seconds with penalties; lower is better.
        metrics: further measurements by name; NaN when there was nothing to measure.
        faults: decisions that failed and were taken by the fallback policy.
        fault: kind of the first one, or what ended the process: "timeout", "crash", "memory",
            "refused".
    """

    window: str
    objective: float
    metrics: Mapping[str, float] = field(default_factory=lambda: _NOTHING)
    faults: int = 0
    fault: str | None = None


def worst_score(window: str, fault: str) -> WindowScore:
    """What a window counts on which the candidate has no score of its own."""
    return WindowScore(window, WORST_OBJECTIVE_S, faults=1, fault=fault)


def score_as_json(score: WindowScore) -> dict[str, object]:
    """The score as JSON values; metrics that are not finite become null."""
    return {
        "window": score.window,
        "objective": float(score.objective),
        "metrics": {name: _or_none(float(value)) for name, value in score.metrics.items()},
        "faults": int(score.faults),
        "fault": score.fault,
    }


def scores_from_json(value: object, windows: Sequence[str]) -> list[WindowScore]:
    """Scores as another process reported them, for exactly these windows in this order.

    Raises:
        MalformedScore: any type, range or name is not what `score_as_json` writes.
    """
    if not isinstance(value, list) or len(value) != len(windows):
        raise MalformedScore(f"expected a list of {len(windows)} scores")
    return [_score_from_json(item, window) for item, window in zip(value, windows, strict=True)]


def _score_from_json(item: object, window: str) -> WindowScore:
    if not isinstance(item, dict) or set(item) != {
        "window",
        "objective",
        "metrics",
        "faults",
        "fault",
    }:
        raise MalformedScore("a score has other fields than expected")
    if item["window"] != window:
        raise MalformedScore(f"expected the window {window}")
    faults, fault = item["faults"], item["fault"]
    if type(faults) is not int or not 0 <= faults < 1 << 53:
        raise MalformedScore("the number of faults is no count")
    if fault is not None and not (isinstance(fault, str) and _FAULT_NAME.fullmatch(fault)):
        raise MalformedScore("the fault is no short lower-case name")
    objective = min(_positive(item["objective"]), WORST_OBJECTIVE_S)
    return WindowScore(window, objective, _metrics(item["metrics"]), faults, fault)


def _metrics(value: object) -> Mapping[str, float]:
    if not isinstance(value, dict) or len(value) > MAX_METRICS:
        raise MalformedScore(f"metrics are no object of at most {MAX_METRICS} numbers")
    metrics = {}
    for name, number in sorted(value.items()):
        if not _METRIC_NAME.fullmatch(name):
            raise MalformedScore("a metric's name has characters it may not have")
        metrics[name] = math.nan if number is None else _finite(number)
    return MappingProxyType(metrics)


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        raise MalformedScore("a measurement is no finite number")
    return float(value)


def _positive(value: object) -> float:
    number = _finite(value)
    if not number > 0.0:
        raise MalformedScore("the objective is not positive")
    return number


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
