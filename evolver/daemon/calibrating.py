"""Keeps the sandbox true to one cluster: checks its predictions on live windows, refits, says so.

    calibrator = Calibrator(CalibrationShelf(folder), cluster)
    error = calibrator.check(window, policy)          # how far off is it now?
    if calibrator.due(now):
        refit = calibrator.refit(window, policy, now) # kept only where it predicts better
    cluster = calibrator.cluster(now)                 # for the next search: its evidence says

A fit sees the requests of one engine, or histograms where no request is timed by an engine's own
counts; the check sees the whole fleet under the live policy. A refit that fits its engine but
predicts the fleet worse is thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from evolver.daemon.calibration_shelf import CalibrationShelf, Check
from sandbox.calibrate import from_histograms, from_timings
from sandbox.calibration import Calibration, CalibrationRefused, Provenance
from sandbox.capacity import Pairing
from sandbox.cluster import ClusterSpec
from sandbox.engine import LoadedPolicy
from sandbox.prediction_error import (
    QUANTITIES,
    PredictionError,
    Ratio,
    Tolerance,
    prediction_error,
    standing_of,
)
from sandbox.profile_standing import ProfileStanding
from sandbox.profiles import Profile, UnknownProfile, load_profile
from sandbox.simulation import Setup
from telemetry.engine_histograms import EngineHistograms
from telemetry.engine_timings import FEWEST_ROWS, EngineTimings
from telemetry.errors import ReadError
from telemetry.request_times import Observed, busiest_engines, engine_timings, observed
from telemetry.requests import Requests

OTHERS_SHARE = 0.05  # of a window's decisions that may be another policy's
Replica = tuple[str, int]  # GPU type and tensor-parallel degree


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of live traffic.

    Attributes:
        since_unix_s, until_unix_s: when it was.
        requests: of the log or its segments.
        capacity: which GPUs were there, None for all of them always.
        histograms: of the engines with the seconds they cover, for where requests say too little.
        clock_speed: engine seconds in one second; above 1 for emulated fleets only.
    """

    since_unix_s: float
    until_unix_s: float
    requests: Requests
    capacity: Pairing | None = None
    histograms: tuple[EngineHistograms, float] | None = None
    clock_speed: float = 1.0

    def since_entry(self, digest: str | None) -> Window:
        """The longest end of it that this policy decided, but for a few; None: all of it.

        A fallback now and then, or a control arm, leaves the times those of the policy.
        """
        if digest is None or not len(self.requests):
            return self
        order = np.argsort(self.requests.arrived_unix_s, kind="stable")
        policies = np.array(self.requests.policies)[order]
        others = ((policies != digest) & (policies != ""))[::-1]
        share = (np.cumsum(others) / np.arange(1, len(others) + 1))[::-1]
        mine = np.flatnonzero(share <= OTHERS_SHARE)
        first = int(mine[0]) if len(mine) else len(order)
        if first == 0:
            return self
        kept = self.requests.take(order[first:])
        since = float(self.requests.arrived_unix_s[order[first - 1]])
        capacity = self.capacity
        if capacity is not None:
            skipped_s = max(0.0, since - self.since_unix_s) * self.clock_speed
            capacity = capacity.slice(skipped_s, capacity.trace.span_s)
        return replace(self, since_unix_s=since, requests=kept, capacity=capacity)

    def observed(self) -> Observed:
        """As a trace with times; raises ReadError when nothing was answered."""
        return observed(self.requests).faster(self.clock_speed)


@dataclass(frozen=True, slots=True)
class CalibrationLimits:
    """When to look again and when to fit again.

    Attributes:
        refit_above: an error of a mean, as a share, that is worth a refit when its interval lies
            on one side of exact.
        every_s: between two checks; most_age_s: of a calibration.
        cool_down_s: between two refits.
        most_requests: of one engine that a fit is made on, the last ones.
        improve: a refit has to take at least this share off the error.
    """

    tolerance: Tolerance = field(default_factory=Tolerance)
    refit_above: float = 0.05
    every_s: float = 3600.0
    most_age_s: float = 30 * 86_400.0
    cool_down_s: float = 3600.0
    most_requests: int = 2000
    improve: float = 0.1


@dataclass(frozen=True, slots=True)
class Refit:
    """What came of one.

    Attributes:
        kept: the new version; None where none was.
        reason: in a sentence.
        before, after: prediction errors on the window; None where it was not tried.
    """

    kept: Calibration | None
    reason: str
    before: PredictionError | None = None
    after: PredictionError | None = None


class Calibrator:
    """One cluster's; belongs to one thread.

    Args:
        shelf: of versions and checks; what it holds survives a restart.
        base: the cluster as its file says.
        replica_of: which replica an instance of the request log is; by default the one kind that
            the cluster has.
    """

    def __init__(
        self,
        shelf: CalibrationShelf,
        base: ClusterSpec,
        limits: CalibrationLimits | None = None,
        replica_of: Callable[[int], Replica | None] | None = None,
    ) -> None:
        self._shelf = shelf
        self._base = base
        self._limits = limits or CalibrationLimits()
        only = only_replica(base)
        self._replica_of = replica_of or (lambda _: only)
        self._tried_unix_s = -math.inf

    def cluster(self, now_unix_s: float) -> ClusterSpec:
        """The cluster with its newest calibrations, and with the standing that they have."""
        newest = self._shelf.newest(self._base)
        standing = self.standing(now_unix_s)
        return self._calibrated(newest).model_copy(update={"standing": standing})

    def last(self) -> Check | None:
        """The last check of what is simulated with now."""
        used = _digests(self._shelf.newest(self._base))
        checks = self._shelf.checks()
        return checks[-1] if checks and checks[-1].calibrations == used else None

    def standing(self, now_unix_s: float) -> ProfileStanding | None:
        """How far predictions can be believed; None while nothing was compared."""
        last = self.last()
        if last is None:
            return None
        newest = self._shelf.newest(self._base)
        fitted = [one.provenance.fitted_unix_s for one in newest if one.provenance is not None]
        return standing_of(
            last.error, last.until_unix_s, now_unix_s, self._limits.tolerance,
            " ".join(last.calibrations), min(fitted, default=None),
        )  # fmt: skip

    def is_time(self, now_unix_s: float) -> bool:
        """Whether predictions should be looked at again."""
        last = self.last()
        return last is None or now_unix_s - last.until_unix_s >= self._limits.every_s

    def check(self, window: Window, policy: LoadedPolicy) -> PredictionError:
        """Compare on a window, and keep what came of it.

        Raises:
            ReadError, NotComparable: the window says nothing about predictions.
            SimulationError: it cannot be simulated.
        """
        newest = self._shelf.newest(self._base)
        error = self._error(window, policy, self._calibrated(newest))
        self._shelf.note(Check(window.since_unix_s, window.until_unix_s, _digests(newest), error))
        return error

    def due(self, now_unix_s: float) -> str:
        """Why a refit is due, in a sentence; empty when it is not."""
        last, limits = self.last(), self._limits
        if last is None or now_unix_s - self._tried_unix_s < limits.cool_down_s:
            return ""
        for name in QUANTITIES:
            ratio: Ratio | None = getattr(last.error, name)
            if ratio is not None and _off(ratio, limits.refit_above):
                return f"Predicted {name.upper()} is {ratio.mean - 1:+.0%} off."
        newest = self._shelf.newest(self._base)
        dated = [one.provenance.fitted_unix_s for one in newest if one.provenance is not None]
        if dated and now_unix_s - min(dated) > limits.most_age_s:
            return f"The calibration is {(now_unix_s - min(dated)) / 86_400:.0f} days old."
        return ""

    def refit(
        self, window: Window, policy: LoadedPolicy, now_unix_s: float, reason: str = ""
    ) -> Refit:
        """Fit to a window, and keep the result where it predicts that window better."""
        self._tried_unix_s = now_unix_s
        newest = self._shelf.newest(self._base)
        try:
            before = self._error(window, policy, self._calibrated(newest))
            made = self._fitted(window)
        except (ReadError, CalibrationRefused) as refused:
            return Refit(None, str(refused))
        others = tuple(one for one in newest if one.key != made.key)
        after = self._error(window, policy, self._calibrated((*others, made)))
        if _loss(after) > (1.0 - self._limits.improve) * _loss(before):
            said = "It predicts the fleet no better than what there is, so it was not kept."
            return Refit(None, said, before, after)
        replaced = next((one.digest for one in newest if one.key == made.key), "")
        kept = made.model_copy(
            update={
                "provenance": Provenance(
                    fitted_unix_s=now_unix_s, since_unix_s=window.since_unix_s,
                    until_unix_s=window.until_unix_s, replaces=replaced, reason=reason[:300],
                    window_error=(before.error("e2e") or 0.0, after.error("e2e") or 0.0),
                )
            }
        )  # fmt: skip
        self._shelf.keep(kept)
        used = _digests(self._shelf.newest(self._base))
        self._shelf.note(Check(window.since_unix_s, window.until_unix_s, used, after))
        return Refit(kept, "It was kept.", before, after)

    def _error(self, window: Window, policy: LoadedPolicy, cluster: ClusterSpec) -> PredictionError:
        seen = window.observed()
        return prediction_error(seen, Setup(seen.trace, cluster, window.capacity), policy)

    def _calibrated(self, calibrations: tuple[Calibration, ...]) -> ClusterSpec:
        both = (*self._base.calibrated, *calibrations)
        return self._base.model_copy(update={"calibrated": both})

    def _fitted(self, window: Window) -> Calibration:
        """Raises ReadError or CalibrationRefused where there is nothing to fit to."""
        for instance_id in busiest_engines(window.requests):
            replica = self._replica_of(instance_id)
            if replica is None:
                continue
            try:
                timings = engine_timings(window.requests, instance_id, self._limits.most_requests)
            except ReadError:
                break
            if len(timings) >= FEWEST_ROWS:
                timings = _faster(timings, window.clock_speed)
                return from_timings(self._profile(replica), timings, self._base.engine)
        only = only_replica(self._base)
        if window.histograms is None or only is None:
            raise ReadError(
                "No engine has enough streamed requests with its own token counts, and there are "
                "no histograms of engines that are all alike: there is nothing to fit to."
            )
        histograms, covered_s = window.histograms
        return from_histograms(self._profile(only), histograms, covered_s, self._base.engine)

    def _profile(self, replica: Replica) -> Profile:
        return load_profile(replica[0], self._base.model, replica[1])


def only_replica(cluster: ClusterSpec) -> Replica | None:
    """The one kind of replica that a cluster has; None where it may have several."""
    named = {(cluster.pool[one.pool].gpu, one.tp, one.pp) for one in cluster.replica}
    if len(named) == 1:
        ((gpu, tp, pp),) = named
        return (gpu, tp) if pp == 1 else None
    if named or len({pool.gpu for pool in cluster.pool}) > 1:
        return None
    for tp in (1, 2, 4, 8):
        try:
            load_profile(cluster.pool[0].gpu, cluster.model, tp)
        except UnknownProfile:
            continue
        return cluster.pool[0].gpu, tp
    return None


def _faster(timings: EngineTimings, speed: float) -> EngineTimings:
    seen = Observed(timings.trace, timings.ttft_s, timings.e2e_s).faster(speed)
    return EngineTimings(seen.trace, seen.ttft_s, seen.e2e_s)


def _digests(calibrations: tuple[Calibration, ...]) -> tuple[str, ...]:
    return tuple(one.digest for one in calibrations)


def _off(ratio: Ratio, share: float) -> bool:
    one_side = math.isnan(ratio.low) or not ratio.low <= 1.0 <= ratio.high
    return one_side and abs(math.log(ratio.mean)) > math.log1p(share)


def _loss(error: PredictionError) -> float:
    """Logarithmic errors of the means together; what would not be served counts as well."""
    ratios = (getattr(error, name) for name in QUANTITIES)
    return sum(abs(math.log(r.mean)) for r in ratios if r is not None) + 10.0 * error.lost
