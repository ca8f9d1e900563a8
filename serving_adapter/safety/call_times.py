"""Processor time that one policy takes for its decisions: the latest of them, which were late."""

from __future__ import annotations

import math

import numpy as np

from serving_adapter.safety.limits import LiveLimits


class CallTimes:
    """Written by the thread that decides, read by the watchdog's."""

    def __init__(self, limits: LiveLimits) -> None:
        self.count = 0
        self._limits = limits
        self._latest_s = np.zeros(max(1, limits.slow_decisions))
        self._judged = 0
        self._late_s = -math.inf

    def add(self, call_s: float) -> None:
        """One call has returned."""
        self._latest_s[self.count % len(self._latest_s)] = call_s
        self.count += 1

    def late(self, now_s: float) -> bool:
        """A call was late; whether it is the second within the bound."""
        again = now_s - self._late_s <= self._limits.slow_strikes_s
        self._late_s = now_s
        return again

    def slow(self) -> str:
        """What is wrong when the p99 of the latest calls is over its bound, or nothing."""
        size, count = len(self._latest_s), self.count
        if count < size or count == self._judged:
            return ""
        self._judged = count
        rank = int(0.99 * (size - 1))
        p99_s = float(np.partition(self._latest_s, rank)[rank])
        if p99_s <= self._limits.slow_p99_s:
            return ""
        return f"the p99 of {size} decisions is {p99_s * 1e3:.3g} ms"
