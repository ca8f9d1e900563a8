"""Tells an engine that computes nothing from one that is slow, by what it did before.

An engine that works shows it somehow: a byte of some answer, or a counter of tokens or requests on
its metrics page that moves. One is silent when none of that came for many times as long as it ever
lately took to a first byte, while a request waits for one. So the slower an engine always was, the
longer it may be silent, and one of which too little is known is never called silent.
"""

from __future__ import annotations

import math
from collections import deque

from telemetry.engine_signals import EngineSignals

ENOUGH_ANSWERS = 20
KEPT_ANSWERS = 256
FACTOR = 10.0  # times the longest of the latest waits for a first byte
AWAY_S = 60.0  # at least, before an engine that was silent is tried again


class Silence:
    """What one engine was heard of; `least_s` is the shortest silence that counts."""

    def __init__(self, least_s: float) -> None:
        self._least_s = least_s
        self._waits_s: deque[float] = deque(maxlen=KEPT_ANSWERS)
        self._heard_s = -math.inf
        self._counters: tuple[int, ...] = ()
        self._away_until_s = -math.inf

    def heard(self, now_s: float) -> None:
        """A part of some answer came."""
        self._heard_s = now_s
        self._away_until_s = -math.inf

    def was_heard(self, since_s: float) -> bool:
        """Whether any part of an answer came since then."""
        return self._heard_s > since_s

    def answered(self, wait_s: float, now_s: float) -> None:
        """The first byte of an answer came after so long."""
        self._waits_s.append(wait_s)
        self.heard(now_s)

    def counted(self, signals: EngineSignals, now_s: float) -> None:
        """Its page says so much of what it has done."""
        counters = signals.prompt_tokens, signals.generation_tokens, signals.finished
        if counters != self._counters:
            if self._counters:
                self.heard(now_s)
            self._counters = counters

    @property
    def patience_s(self) -> float:
        """For how long it may be silent; for ever while little is known of it."""
        if len(self._waits_s) < ENOUGH_ANSWERS:
            return math.inf
        return max(self._least_s, FACTOR * max(self._waits_s))

    def begins(self, waiting_since_s: float, now_s: float) -> bool:
        """Whether it is silent now, the oldest request having waited since then; then it is away.

        It is tried again after as long a silence more.
        """
        patience_s = self.patience_s
        if now_s - max(self._heard_s, waiting_since_s) <= patience_s:
            return False
        self._away_until_s = now_s + max(patience_s, AWAY_S)
        return True

    def is_away(self, now_s: float) -> bool:
        """Whether no requests should go there."""
        return now_s < self._away_until_s
