"""How a policy does beside its control: worse, better, or not known yet, provable at any moment.

Only the first answer of a session in an epoch counts, because the draw of the arm is per session
and epoch.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from enum import StrEnum

from serving_adapter.decision import Arm
from serving_adapter.safety.control_arm import Observation
from serving_adapter.safety.limits import LiveLimits
from serving_adapter.safety.sequential_test import FailureTest, LatencyTest
from serving_adapter.safety.slo_guard import SloGuard

MAX_UNITS = 20_000
WAITS = 256
ENOUGH_WAITS = 20


class Standing(StrEnum):
    """What a comparison has shown so far; it may be asked after every request."""

    OPEN = "open"
    WORSE = "worse"
    BETTER = "better"


class Comparison:
    """Observations of one policy and of the control that ran beside it.

    Attributes:
        digest: of the policy.
        counts: requests that counted, of each arm.
        proof: the wealth at which something is proven.
        slo: watches over the operator's promise; None where there is none.
    """

    def __init__(self, digest: str, limits: LiveLimits, share: float) -> None:
        effect = limits.effect
        self.digest = digest
        self.slo = SloGuard(limits, share) if limits.has_slo else None
        self.counts = {Arm.POLICY: 0, Arm.CONTROL: 0}
        self.proof = limits.proof
        self._ttft = LatencyTest(share, effect)
        self._e2e = LatencyTest(share, effect)
        self._failures = FailureTest(share, effect)
        # The same game with the arms exchanged: is the control above the policy, by anything?
        self._better = LatencyTest(1.0 - share, 0.0)
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._waits_s: deque[float] = deque(maxlen=WAITS)

    def add(self, seen: Observation) -> None:
        """One request has ended; what is of no use here is passed over."""
        if seen.arm is Arm.NONE or seen.digest != self.digest or seen.unit in self._seen:
            return
        self._seen[seen.unit] = None
        if len(self._seen) > MAX_UNITS:
            self._seen.popitem(last=False)
        control = seen.arm is Arm.CONTROL
        self.counts[seen.arm] += 1
        self._failures.add(seen.failed, control=control)
        e2e_s = math.inf if seen.failed else seen.e2e_s
        self._e2e.add(e2e_s, control=control)
        self._better.add(e2e_s, control=not control)
        if seen.failed or not math.isnan(seen.ttft_s):
            self._ttft.add(math.inf if seen.failed else seen.ttft_s, control=control)
        if self.slo is not None:
            self.slo.add(seen)
        if control and not math.isnan(seen.ttft_s):
            self._waits_s.append(seen.ttft_s)

    @property
    def evidence(self) -> float:
        """Wealth of the three tests together; their mean is a fair game as each of them is."""
        tests = (self._ttft, self._e2e, self._failures)
        return sum(test.wealth.value for test in tests) / len(tests)

    @property
    def advantage(self) -> float:
        """Wealth of who bets that the policy's end-to-end times are below its control's."""
        return self._better.wealth.value

    @property
    def standing(self) -> Standing:
        """Worse, better, or not known yet; each is wrong with probability alpha at most, ever."""
        if self.evidence >= self.proof:
            return Standing.WORSE
        return Standing.BETTER if self.advantage >= self.proof else Standing.OPEN

    @property
    def verdict(self) -> str:
        """Why the policy is worse than its control, empty while that is not proven."""
        if self.evidence < self.proof:
            return ""
        wealth = {
            "time to first token": self._ttft.wealth.value,
            "end-to-end time": self._e2e.wealth.value,
            "failures": self._failures.wealth.value,
        }
        worst = max(wealth, key=lambda name: wealth[name])
        return f"{worst}: evidence {self.evidence:.3g} of {self.proof:.3g}"

    @property
    def usual_wait_s(self) -> float:
        """p99 time to first token of the control; 0 while too few are known."""
        waits_s = sorted(self._waits_s)
        return waits_s[int(0.99 * (len(waits_s) - 1))] if len(waits_s) >= ENOUGH_WAITS else 0.0
