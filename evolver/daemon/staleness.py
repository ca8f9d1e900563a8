"""Whether what a live policy was promoted for still holds: promised against found, on live traffic.

The gain that its evidence promised over the policy it replaced is looked for again on the last
window: both are simulated there with the profile as it is calibrated now. Beside it stands what was
realised: the live policy's times against those that the sandbox predicts for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sandbox.engine import LoadedPolicy
from sandbox.evidence import Evidence, Role
from sandbox.hardware import build_hardware
from sandbox.metrics import charged_s
from sandbox.prediction_error import (
    WARMUP_SHARE,
    NotComparable,
    PredictionError,
    Ratio,
    compared,
    until_done,
)
from sandbox.replay import default_policy
from sandbox.simulation import Setup, simulate
from sandbox.stats import Interval, log_ratios, paired_bootstrap, relative_gain
from telemetry.request_times import Observed

PARTS = 8
FEWEST_REQUESTS = 100
LOST_SHARE = 0.5  # of the promised gain


@dataclass(frozen=True, slots=True)
class Staleness:
    """Promised against found.

    Attributes:
        promised: of the sealed windows of its evidence, over the active policy of then, in
            log-ratio; found: of the last window; None where there is no such comparison.
        share: of the promised gain that is no longer found: 0 all is there, 1 nothing, above 1 it
            is slower than what it replaced; None where nothing was promised.
        realised: predicted over realised times of the live policy; None where not known.
        stale: the evidence should be made anew.
        reason: in a sentence.
    """

    promised: Interval | None
    found: Interval | None
    share: float | None
    realised: PredictionError | None
    stale: bool
    reason: str

    def facts(self) -> Mapping[str, float]:
        """What is known, in numbers to keep."""
        known: dict[str, float] = {"stale": float(self.stale)}
        if self.promised is not None:
            known["promised_gain"] = relative_gain(self.promised.mean)
        if self.found is not None:
            known["found_gain"] = relative_gain(self.found.mean)
        if self.share is not None:
            known["lost_share"] = self.share
        if self.realised is not None and self.realised.e2e is not None:
            known["predicted_over_realised"] = self.realised.e2e.mean
        return known


def promised_gain(evidence: Evidence | None) -> Interval | None:
    """What the sealed windows said over the active policy of then, else the least of all gains."""
    sealed = [effect for effect in evidence.effects if effect.sealed] if evidence else []
    active = [effect for effect in sealed if effect.against is Role.ACTIVE]
    chosen = active or sorted(sealed, key=lambda effect: effect.interval.mean)
    return chosen[0].interval if chosen else None


def staleness(
    evidence: Evidence | None,
    live: LoadedPolicy,
    replaced: LoadedPolicy | None,
    setup: Setup,
    observed: Observed | None = None,
) -> Staleness:
    """Look for what was promised on a window.

    Args:
        evidence: that the live policy was promoted with; None for a policy without any.
        live, replaced: what is live, and what was before; without the latter, the default policy.
        setup: the last window, with the cluster as it is calibrated now.
        observed: the same window's realised times, over `setup.trace`.

    Raises:
        SimulationError: the window cannot be simulated.
    """
    if observed is not None:
        setup = until_done(setup, observed)
    mine = simulate(setup, live, default_policy())
    theirs = simulate(setup, replaced or default_policy(), default_policy())
    realised = None
    if observed is not None:
        try:
            realised = compared(observed, mine)
        except NotComparable:
            realised = None
    hardware = build_hardware(setup.cluster)
    warmup_s = WARMUP_SHARE * setup.trace.span_s
    ours, others = (charged_s(o, setup, hardware, warmup_s) for o in (mine, theirs))
    both = np.flatnonzero((ours > 0) & (others > 0))
    promised = promised_gain(evidence)
    if len(both) < FEWEST_REQUESTS:
        reason = f"Only {len(both)} requests can be compared, {FEWEST_REQUESTS} are needed."
        return Staleness(promised, None, None, realised, stale=False, reason=reason)
    parts = np.array_split(both, PARTS)
    ratios = log_ratios(
        [float(others[part].mean()) for part in parts], [float(ours[part].mean()) for part in parts]
    )
    found = paired_bootstrap(ratios, seed=setup.seed)
    return _judged(promised, found, realised)


def _judged(
    promised: Interval | None, found: Interval, realised: PredictionError | None
) -> Staleness:
    now = relative_gain(found.mean)
    if promised is None or promised.mean <= 0:
        reason = f"Nothing was promised of it; it gains {now:+.1%} now."
        return Staleness(promised, found, None, realised, stale=found.worse, reason=reason)
    gain = relative_gain(promised.mean)
    share = max(0.0, (gain - now) / gain)
    said = f"It was promised to gain {gain:+.1%} and gains {now:+.1%} on what arrives now"
    # Windows differ by chance: only what both intervals rule out counts.
    stale = share > LOST_SHARE and found.high < promised.low
    if found.worse:
        said, stale = f"{said}: it is slower than what it replaced", True
    elif stale:
        said = f"{said}: most of the gain is gone"
    return Staleness(promised, found, round(share, 5), realised, stale, f"{said}{_told(realised)}.")


def _told(realised: PredictionError | None) -> str:
    ratio: Ratio | None = None if realised is None else realised.e2e
    if ratio is None or not math.isfinite(ratio.mean):
        return ""
    return f"; its times were predicted {ratio.mean - 1:+.0%} off what they are"
