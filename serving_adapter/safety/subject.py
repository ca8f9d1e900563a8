"""One policy under watch: all checks of it, from the moment it decides."""

from __future__ import annotations

from serving_adapter.activation import Ready
from serving_adapter.safety.checks import ImbalanceCheck, Reading, StallCheck
from serving_adapter.safety.comparison import Comparison
from serving_adapter.safety.control_arm import Observation, Shares
from serving_adapter.safety.ejection import EjectionKind
from serving_adapter.safety.limits import LiveLimits
from serving_adapter.safety.starvation import IdleEngineCheck, TenantCheck, Wait

Verdict = tuple[EjectionKind, str]


class Subject:
    """The checks of one policy; `shares` where it is compared. Belongs to the watchdog's thread."""

    def __init__(self, ready: Ready, limits: LiveLimits, shares: Shares | None) -> None:
        self.ready, self.shares = ready, shares
        self._limits = limits
        self._tenants = TenantCheck(limits)
        self.comparison: Comparison | None = None
        if shares is not None and shares.of_control > 0.0:
            self.comparison = Comparison(ready.digest, limits, shares.of_control)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what was seen of engines and holds: time has passed that was nobody's."""
        self._stall = StallCheck(self._limits)
        self._imbalance = ImbalanceCheck(self._limits)
        self._idle = IdleEngineCheck(self._limits)

    def seen(self, observation: Observation) -> None:
        """A request that counts in some comparison has ended."""
        if self.comparison is not None:
            self.comparison.add(observation)

    def waited(self, wait: Wait) -> None:
        """A request has ended, and some policy had placed it."""
        if wait.digest == self.ready.digest:
            self._tenants.add(wait)

    def judge(self, reading: Reading) -> Verdict | None:
        """What is wrong with how it treats requests, engines and tenants now."""
        usual_wait_s = self.comparison.usual_wait_s if self.comparison else 0.0
        if reason := self._stall.look(reading, usual_wait_s):
            return EjectionKind.STALL, reason
        if reason := self._imbalance.look(reading):
            return EjectionKind.IMBALANCE, reason
        if reason := self._idle.look(reading) or self._tenants.look(reading.at_s):
            return EjectionKind.STARVATION, reason
        return None

    def compare(self, now_s: float) -> Verdict | None:
        """What is wrong with how it does beside its control."""
        if self.comparison is None:
            return None
        if reason := self.comparison.verdict:
            return EjectionKind.REGRESS, reason
        slo = self.comparison.slo
        if slo is not None and (reason := slo.verdict(now_s)):
            return EjectionKind.SLO, reason
        return None
