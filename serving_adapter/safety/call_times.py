"""Processor time that one policy takes for its decisions: the latest of them, which were late."""

from __future__ import annotations

import math

import numpy as np

from serving_adapter.safety.limits import LiveLimits


class CallTimes:
    """Written by the thread that decides, read by the watchdog's.

    Attributes:
        measured_to: processor time is asked for until `count` is this.
        measured_until_s: and until then.
    """

    def __init__(self, limits: LiveLimits) -> None:
        self.count = self.measured_to = 0
        self.measured_until_s = -math.inf
        self._limits = limits
        self._latest_s = np.zeros(max(1, limits.slow_decisions))
        self._size = len(self._latest_s)
        self._values = self._latest_s.view(np.uint8).data.cast("d")
        self._judged = 0
        self._long = -self._size  # the count at the latest long call
        self._late_s = -math.inf

    def add(self, call_s: float) -> None:
        """One call has returned."""
        self._values[self.count % self._size] = call_s
        self.count += 1

    def busy_s(self, took_s: float, measured_s: float, now_s: float) -> float:
        """Processor time of a call that took longer than `slow_p99_s`.

        To ask for processor time takes longer than many a policy, so it is only asked for after a
        call that was late, and after two among those judged together that took long: others share
        the processor. Calls that were not measured count as long as they may be, and as the first
        of two late ones if they were that.

        Args:
            took_s: wall time.
            measured_s: processor time, NaN where it was not asked for.
            now_s: when it ended.
        """
        limits = self._limits
        if self.count - self._long < self._size:
            self.measured_to = self.count + self._size
        self._long = self.count
        if took_s > limits.slow_call_s:
            self.measured_until_s = now_s + limits.slow_strikes_s
        if not math.isnan(measured_s):
            return min(took_s, measured_s)
        if took_s > limits.slow_call_s:
            self.late(now_s)
        return min(took_s, limits.slow_p99_s)

    def late(self, now_s: float) -> bool:
        """A call was late; whether it is the second within the bound."""
        again = now_s - self._late_s <= self._limits.slow_strikes_s
        self._late_s = now_s
        return again

    def slow(self) -> str:
        """What is wrong when the p99 of the latest calls is over its bound, or nothing."""
        size, count = self._size, self.count
        if count < size or count == self._judged:
            return ""
        self._judged = count
        rank = int(0.99 * (size - 1))
        p99_s = float(np.partition(self._latest_s, rank)[rank])
        if p99_s <= self._limits.slow_p99_s:
            return ""
        return f"the p99 of {size} decisions is {p99_s * 1e3:.3g} ms"
