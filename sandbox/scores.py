"""What a candidate is and what it scored on one window, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sandbox.identity import source_digest

WORST_OBJECTIVE_S = 1e6  # of a window on which a candidate crashed, hung or was refused

_NOTHING: Mapping[str, float] = MappingProxyType({})


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
        fingerprint: equal for policies under which all went alike here; "" without an outcome.
        remarks: about the requests that fared worst, in numbers.
    """

    window: str
    objective: float
    metrics: Mapping[str, float] = field(default_factory=lambda: _NOTHING)
    faults: int = 0
    fault: str | None = None
    fingerprint: str = ""
    remarks: tuple[str, ...] = ()


def worst_score(window: str, fault: str) -> WindowScore:
    """What a window counts on which the candidate has no score of its own."""
    return WindowScore(window, WORST_OBJECTIVE_S, faults=1, fault=fault)
