"""How far a sandbox can be believed on a cluster: graded from its last prediction error there.

Evidence carries the standing of the profile that it was made with, so that a number which rests on
wrong step times says so wherever it is shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum


class Grade(StrEnum):
    """What a profile is worth on a cluster."""

    GOOD = "good"
    POOR = "poor"  # predictions are too far off
    STALE = "stale"  # nobody has looked for too long, or much has changed since


@dataclass(frozen=True, slots=True)
class ProfileStanding:
    """The grade with what it rests on.

    Attributes:
        reason: a sentence.
        requests: that predictions were compared on.
        ttft, tpot, e2e: predicted mean over realised mean, less 1; None where not measured.
        e2e_p95: the same of 95th percentiles.
        measured_unix_s: end of the window that was compared.
        calibration: digest of the calibration that was simulated with; empty for a shipped profile.
        fitted_unix_s: when that was fitted.
    """

    grade: Grade
    reason: str
    requests: int
    ttft: float | None
    tpot: float | None
    e2e: float | None
    e2e_p95: float | None
    measured_unix_s: float
    calibration: str = ""
    fitted_unix_s: float | None = None

    def __post_init__(self) -> None:
        numbers = (self.ttft, self.tpot, self.e2e, self.e2e_p95, self.measured_unix_s)
        if not all(value is None or math.isfinite(value) for value in numbers):
            raise ValueError("A standing is made of numbers that exist; leave the others out.")

    def sentence(self) -> str:
        """The standing in words and numbers."""
        parts = [
            f"{words} {100 * value:+.0f} %"
            for words, value in (
                ("time to first token", self.ttft), ("time per output token", self.tpot),
                ("end to end", self.e2e), ("its p95", self.e2e_p95),
            )
            if value is not None
        ]  # fmt: skip
        when = datetime.fromtimestamp(self.measured_unix_s, UTC)
        fitted = f"calibration {self.calibration}" if self.calibration else "a shipped profile"
        return (
            f"The profile was {self.grade.value} for this cluster: predicted against realised "
            f"{', '.join(parts) or 'not known'}, on {self.requests} requests until "
            f"{when:%Y-%m-%d %H:%M} UTC, with {fitted}. {self.reason}"
        )
