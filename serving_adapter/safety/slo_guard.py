"""Takes a policy out that breaks the operator's promise while its control keeps it.

Two things must be so at once: over the last window the policy's attainment is below the bound and
the control's is not, and the policy is proven to miss the targets more often than the control does,
by the sequential test that all comparisons use. Overload breaks the promise in both arms and is no
policy's fault.
"""

from __future__ import annotations

from collections import deque

from serving_adapter.decision import Arm
from serving_adapter.safety.control_arm import Observation
from serving_adapter.safety.limits import LiveLimits
from serving_adapter.safety.sequential_test import FailureTest

ENOUGH_OF_POLICY, ENOUGH_OF_CONTROL = 50, 20
MAX_KEPT = 5000


class SloGuard:
    """Counts which requests of one policy, and of its control, kept the targets.

    Args:
        limits: targets, bound and window.
        share: the control's, of what is compared.
    """

    def __init__(self, limits: LiveLimits, share: float) -> None:
        self._limits = limits
        self._test = FailureTest(share, 0.0)
        self._kept: dict[Arm, deque[tuple[float, bool]]] = {
            arm: deque(maxlen=MAX_KEPT) for arm in (Arm.POLICY, Arm.CONTROL)
        }

    def add(self, seen: Observation) -> None:
        """One request has ended."""
        missed = self._missed(seen)
        self._test.add(missed, control=seen.arm is Arm.CONTROL)
        self._kept[seen.arm].append((seen.at_s, not missed))

    def attainment(self, arm: Arm, now_s: float) -> float | None:
        """Share of requests of the window that kept the targets; None while there are too few."""
        kept = self._kept[arm]
        while kept and now_s - kept[0][0] > self._limits.slo_window_s:
            kept.popleft()
        enough = ENOUGH_OF_POLICY if arm is Arm.POLICY else ENOUGH_OF_CONTROL
        return sum(good for _, good in kept) / len(kept) if len(kept) >= enough else None

    def verdict(self, now_s: float) -> str:
        """What is wrong, or nothing."""
        own, usual = self.attainment(Arm.POLICY, now_s), self.attainment(Arm.CONTROL, now_s)
        bound = self._limits.slo_attainment
        if own is None or usual is None or own >= bound or usual < bound:
            return ""
        if self._test.wealth.value < self._limits.proof:
            return ""
        return f"{own:.1%} of requests kept the targets, {usual:.1%} of the control's"

    def _missed(self, seen: Observation) -> bool:
        limits = self._limits
        late = 0 < limits.slo_ttft_s < seen.ttft_s  # NaN is late for nothing
        return seen.failed or late or 0 < limits.slo_e2e_s < seen.e2e_s
