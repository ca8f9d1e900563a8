"""A planner on trial: whole periods, drawn by chance, in which it or the present one plans.

A plan holds for everybody, so a planner cannot have a share of the sessions. It gets a share of the
time: each period draws who plans in it, as sessions draw their arms. The first part of a period is
wash-out, in which replicas start and stop and the queue of the period before drains; what ends
after it counts as one observation of the sequential test. The draw is independent of all that came
before, so the test's promise holds whatever the traffic does, as long as nothing of a period
outlives the wash-out of the next (Bojinov, Simchi-Levi, Zhao, "Design and Analysis of Switchback
Experiments", Management Science 2023).
"""

from __future__ import annotations

import hashlib
import math
import secrets
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sandbox.summary import ARRIVED, E2E_US, E2ES, FINISHED, REJECTED, TTFT_US, TTFTS
from serving_adapter.activation import Ready
from serving_adapter.decision import Arm
from serving_adapter.errors import AdapterError
from serving_adapter.live import Live
from serving_adapter.planning.window import Sums
from serving_adapter.safety.comparison import Comparison
from serving_adapter.safety.control_arm import Observation, Shares, shares_of
from serving_adapter.safety.limits import LiveLimits

REJECTED_FACTOR = 10.0
"""A rejected request counts as this many times the mean time of the others, as in evidence."""

Counts = npt.NDArray[np.int64]

_KEY_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchbackSpec:
    """How a planner's trial divides the time.

    Attributes:
        period_s: of one planner.
        washout_s: of each period's beginning that counts for nobody: longer than a replica takes
            to start, and a request to end.
    """

    period_s: float = 600.0
    washout_s: float = 180.0

    def __post_init__(self) -> None:
        if not 0 <= self.washout_s < self.period_s < math.inf:
            raise AdapterError(
                "A wash-out is a part of its period: give a shorter one, or longer periods."
            )


class _Trial(NamedTuple):
    """What is compared, and since when; another one begins when any of it changes."""

    canary: Ready
    beside: Ready | None
    weight: float


@dataclass(slots=True)
class _Period:
    """One period.

    Attributes:
        since: sums at the end of its wash-out; None before.
        spoiled: somebody else decided in it.
    """

    number: int
    arm: Arm
    since: Sums | None = None
    spoiled: bool = False


class Switchback:
    """Draws who plans, and compares what came of it. Belongs to the planner's thread.

    Attributes:
        comparison: of the policy on trial; None without one, or where nothing is left to compare.
    """

    def __init__(
        self, spec: SwitchbackSpec, limits: LiveLimits, *, key: bytes | None = None
    ) -> None:
        self.comparison: Comparison | None = None
        self._spec, self._limits = spec, limits
        self._key = key if key is not None else secrets.token_bytes(_KEY_BYTES)
        self._trial: _Trial | None = None
        self._shares = Shares(0.0, 0.0)
        self._began_s = math.nan
        self._period: _Period | None = None

    def arm(self, live: Live, now_s: float, sums: Sums) -> Arm:
        """Whose turn it is at a monitoring point; `NONE` where nobody is on trial.

        Args:
            live: what is live.
            now_s: on a clock that never goes back.
            sums: what has ended so far.
        """
        trial = None
        if live.canary is not None:
            trial = _Trial(live.canary, live.deciding, live.weight)
        if trial != self._trial:
            self._begin(trial, now_s)
        if trial is None:
            return Arm.NONE
        number = int((now_s - self._began_s) // self._spec.period_s)
        period = self._period
        if period is None or period.number != number:
            if period is not None:
                self._close(trial, period, sums, now_s)
            period = self._period = _Period(number, self._draw(trial, number))
        into_s = now_s - self._began_s - number * self._spec.period_s
        if period.since is None and into_s >= self._spec.washout_s:
            period.since = sums.copy()
        return period.arm

    def spoil(self) -> None:
        """Whose turn it is did not decide, so this period says nothing of either."""
        if self._period is not None:
            self._period.spoiled = True

    def _begin(self, trial: _Trial | None, now_s: float) -> None:
        self._trial, self._period, self._began_s = trial, None, now_s
        self.comparison = None
        if trial is None:
            return
        self._shares = shares_of(trial.weight, 0.0)
        if self._shares.control > 0.0:
            share = self._shares.of_control
            self.comparison = Comparison(trial.canary.digest, self._limits, share)

    def _unit(self, trial: _Trial, number: int) -> int:
        drawn = f"{trial.canary.digest} {self._began_s!r} {number}".encode()
        return int.from_bytes(hashlib.blake2b(drawn, digest_size=8, key=self._key).digest(), "big")

    def _draw(self, trial: _Trial, number: int) -> Arm:
        return self._shares.arm(self._unit(trial, number))

    def _close(self, trial: _Trial, period: _Period, sums: Sums, now_s: float) -> None:
        """Count a period that is over; one that was hardly seen says nothing."""
        if period.spoiled or period.since is None or self.comparison is None:
            return
        of = (sums - period.since)[0]
        failed = of[FINISHED] <= 0
        if of[ARRIVED] <= 0 if failed else of[E2ES] <= 0:  # nobody came, or nobody says how long
            return
        self.comparison.add(
            Observation(
                arm=period.arm,
                unit=self._unit(trial, period.number),
                digest=trial.canary.digest,
                failed=bool(failed),
                ttft_s=1e-6 * of[TTFT_US] / of[TTFTS] if of[TTFTS] > 0 else math.nan,
                e2e_s=math.inf if failed else _charged_s(of),
                at_s=now_s,
            )
        )


def _charged_s(of: Counts) -> float:
    """Mean end-to-end time of a period's requests, those that were rejected included."""
    mean_s, finished = 1e-6 * of[E2E_US] / of[E2ES], of[FINISHED]
    return float(mean_s * (finished + REJECTED_FACTOR * of[REJECTED]) / (finished + of[REJECTED]))
