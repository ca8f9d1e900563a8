"""How far off the sandbox is on a cluster now: the last window simulated, and held against itself.

The window is run under the policy that served it; predicted times of requests are compared with
realised ones, request by request the same set. What a fleet did before the window began is not
known, so its first part only fills the simulated fleet and is not compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.engine import LoadedPolicy
from sandbox.errors import SandboxError
from sandbox.kernel.state import FINISHED, PS_PER_S
from sandbox.profile_standing import Grade, ProfileStanding
from sandbox.replay import default_policy
from sandbox.simulation import Outcome, Setup, simulate
from sandbox.stats import paired_bootstrap
from telemetry.request_times import Observed

Floats = NDArray[np.float64]

WARMUP_SHARE = 0.1
MOST_PARTS = 8
PART_REQUESTS = 25  # at least, of a part
FEWEST_REQUESTS = 100
QUANTITIES = ("ttft", "tpot", "e2e")


class NotComparable(SandboxError):
    """A window that says nothing about predictions."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Predicted over realised; 1 is exact, 1.1 is predicted 10 % too long.

    Attributes:
        mean, p95: of the means and of the 95th percentiles.
        low, high: 95 % interval of the mean's ratio over parts of the window; NaN with fewer than
            three parts.
    """

    mean: float
    p95: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PredictionError:
    """What a window showed.

    Attributes:
        requests: that were compared; lost: share of the realised ones that the simulation did not
            finish.
        ttft, tpot, e2e: None where nothing was realised.
        parts: stretches of the window that the intervals rest on.
    """

    requests: int
    lost: float
    ttft: Ratio | None
    tpot: Ratio | None
    e2e: Ratio | None
    parts: int

    def error(self, name: str) -> float | None:
        """Relative error of a mean, signed; None where it is not known."""
        ratio: Ratio | None = getattr(self, name)
        return None if ratio is None else round(ratio.mean - 1.0, 5)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; null for what is not known."""
        shown: dict[str, Any] = {
            "requests": self.requests, "lost": round(self.lost, 5), "parts": self.parts,
        }  # fmt: skip
        for name in QUANTITIES:
            ratio: Ratio | None = getattr(self, name)
            shown[name] = None if ratio is None else _plain(ratio)
        return shown

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> PredictionError:
        """What `to_json` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        ttft, tpot, e2e = (_ratio(told[name]) for name in QUANTITIES)
        return cls(int(told["requests"]), float(told["lost"]), ttft, tpot, e2e, int(told["parts"]))


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far off predictions may be, as shares; a first token hangs on queues, so it may more.

    Attributes:
        lost: share of realised requests that the simulation may leave unfinished.
        stale_s: after which an error that was measured says nothing about now.
    """

    ttft: float = 0.5
    tpot: float = 0.15
    e2e: float = 0.15
    e2e_p95: float = 0.3
    lost: float = 0.02
    stale_s: float = 86_400.0

    def excess(self, error: PredictionError) -> str:
        """What is too far off, in a sentence; empty when nothing is."""
        if error.lost > self.lost:
            return f"{error.lost:.0%} of the requests that were served would not have been."
        for name, most in (("e2e", self.e2e), ("tpot", self.tpot), ("ttft", self.ttft)):
            ratio: Ratio | None = getattr(error, name)
            if ratio is not None and abs(math.log(ratio.mean)) > math.log1p(most):
                return f"The {_WORDS[name]} is {ratio.mean - 1:+.0%} off, {most:.0%} is allowed."
        tail = error.e2e
        if tail is not None and abs(math.log(tail.p95)) > math.log1p(self.e2e_p95):
            return f"The p95 of it is {tail.p95 - 1:+.0%} off, {self.e2e_p95:.0%} is allowed."
        return ""


_WORDS = {"e2e": "end-to-end time", "tpot": "time per output token", "ttft": "time to first token"}


def prediction_error(observed: Observed, setup: Setup, policy: LoadedPolicy) -> PredictionError:
    """Simulate a window under the policy that served it, and compare.

    Args:
        setup: over `observed.trace`; its cluster and capacity are those of the window.
        policy: that was live.

    Raises:
        NotComparable: too few requests have times.
        SimulationError: the window cannot be simulated.
    """
    return compared(observed, simulate(until_done(setup, observed), policy, default_policy()))


def until_done(setup: Setup, observed: Observed) -> Setup:
    """The same run, long enough for what was realised to be predicted up to three times as long."""
    longest_s = float(np.nanmax(observed.e2e_s)) if np.isfinite(observed.e2e_s).any() else 0.0
    stop_s = observed.trace.span_s + 3.0 * longest_s + 60.0
    return replace(setup, stop_s=max(stop_s, setup.stop_s or 0.0))


def compared(observed: Observed, outcome: Outcome) -> PredictionError:
    """Hold a simulated window against what was realised."""
    done = outcome.state == FINISHED
    ttft, e2e = (
        np.where(done, column - outcome.entered, np.nan) / PS_PER_S
        for column in (outcome.first, outcome.finish)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(observed.trace.output_tokens > 1, observed.trace.output_tokens - 1, np.nan)
        tpot = (e2e - ttft) / steps
    late = observed.trace.arrival_s >= WARMUP_SHARE * observed.trace.span_s
    realised = late & (observed.e2e_s > 0)
    both = realised & done
    if int(both.sum()) < FEWEST_REQUESTS:
        raise NotComparable(
            f"Only {int(both.sum())} requests have a predicted and a realised time; "
            f"{FEWEST_REQUESTS} are needed, so let the fleet serve for longer."
        )
    parts = int(np.clip(int(both.sum()) // PART_REQUESTS, 1, MOST_PARTS))
    found = (
        _compared(ours, theirs, both, parts)
        for ours, theirs in (
            (ttft, observed.ttft_s), (tpot, observed.tpot_s), (e2e, observed.e2e_s)
        )
    )  # fmt: skip
    in_ttft, in_tpot, in_e2e = found
    lost = 1.0 - float(both.sum()) / float(realised.sum())
    return PredictionError(int(both.sum()), lost, in_ttft, in_tpot, in_e2e, parts)


def standing_of(
    error: PredictionError | None,
    measured_unix_s: float,
    now_unix_s: float,
    tolerance: Tolerance,
    calibration: str = "",
    fitted_unix_s: float | None = None,
) -> ProfileStanding | None:
    """The grade that an error gives; None when nothing was ever measured."""
    if error is None:
        return None
    grade, reason = Grade.GOOD, "All of it is within what is allowed."
    if now_unix_s - measured_unix_s > tolerance.stale_s:
        hours = (now_unix_s - measured_unix_s) / 3600.0
        grade, reason = Grade.STALE, f"That was {hours:.0f} h before, too long to tell about then."
    elif excess := tolerance.excess(error):
        grade, reason = Grade.POOR, excess
    p95 = None if error.e2e is None else round(error.e2e.p95 - 1.0, 5)
    return ProfileStanding(
        grade, reason, error.requests, error.error("ttft"), error.error("tpot"), error.error("e2e"),
        p95, round(measured_unix_s, 3), calibration, fitted_unix_s,
    )  # fmt: skip


def _compared(ours: Floats, theirs: Floats, both: NDArray[np.bool_], parts: int) -> Ratio | None:
    rows = np.flatnonzero(both & (ours > 0) & (theirs > 0))
    if len(rows) < parts:
        return None
    mine, real = ours[rows], theirs[rows]
    split = np.array_split(np.arange(len(rows)), parts)
    logs = [math.log(mine[part].mean() / real[part].mean()) for part in split]
    low = high = math.nan
    if parts >= 3:
        interval = paired_bootstrap(logs, seed=0)
        low, high = math.exp(interval.low), math.exp(interval.high)
    p95 = float(np.percentile(mine, 95) / np.percentile(real, 95))
    return Ratio(float(mine.mean() / real.mean()), p95, low, high)


def _plain(ratio: Ratio) -> dict[str, float | None]:
    values = {name: getattr(ratio, name) for name in Ratio.__dataclass_fields__}
    return {n: round(v, 5) if math.isfinite(v) else None for n, v in values.items()}


def _ratio(told: Mapping[str, Any] | None) -> Ratio | None:
    if told is None:
        return None
    values = (told[name] for name in Ratio.__dataclass_fields__)
    ratio = Ratio(*(math.nan if value is None else float(value) for value in values))
    if not (0 < ratio.mean < math.inf and 0 < ratio.p95 < math.inf):
        raise ValueError("A ratio of times is a number above 0.")
    return ratio
