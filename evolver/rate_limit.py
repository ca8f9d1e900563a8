"""How fast one model is asked: so many requests and tokens a minute, so many calls at once.

All who ask one model share one `RateLimit`. When the endpoint asks to slow down, everybody pauses
and half as many calls are under way at once; each full round of good answers allows one more.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

MINUTE_S = 60.0
LOOK_AGAIN_S = 0.05  # while all calls allowed at once are under way


class RateLimit:
    """Turns for calls of one model.

    Args:
        requests_per_minute, tokens_per_minute: None is no limit.
        concurrency: calls under way at once, at most.
        clock, sleep: replaced in tests.
    """

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        concurrency: int = 8,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._requests = requests_per_minute
        self._tokens = tokens_per_minute
        self._most = concurrency
        self._allowed = concurrency
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._booked: deque[tuple[float, int, int]] = deque()  # (when, requests, tokens)
        self._under_way = 0
        self._good = 0
        self._paused_until = clock()

    @property
    def allowed(self) -> int:
        """Calls that may be under way at once now."""
        return self._allowed

    def enter(self, tokens: int, within_s: float) -> bool:
        """Wait for a turn for a call of about this many tokens; False when none comes in time.

        Whoever got a turn gives it back with `leave`.
        """
        ends_s = self._clock() + within_s
        while (wait_s := self._book(tokens)) > 0:
            if self._clock() + wait_s > ends_s:
                return False
            self._sleep(wait_s)
        return True

    def leave(self, estimated: int, spent: int, good: bool) -> None:
        """A call is over; it took `spent` tokens where `enter` was told `estimated`."""
        with self._lock:
            self._under_way -= 1
            if spent > estimated:
                self._booked.append((self._clock(), 0, spent - estimated))
            self._good = self._good + 1 if good else 0
            if self._good >= self._allowed < self._most:
                self._allowed += 1
                self._good = 0

    def slow_down(self, wait_s: float) -> None:
        """The endpoint asked for it: nobody begins a call for so long, and fewer run at once."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + wait_s)
            self._allowed = max(1, self._allowed // 2)
            self._good = 0

    def _book(self, tokens: int) -> float:
        """Seconds until a turn may come; 0 when it is there, and then it is taken."""
        with self._lock:
            now = self._clock()
            wait_s = max(self._paused_until - now, self._rate_wait_s(now, tokens))
            if wait_s <= 0 and self._under_way >= self._allowed:
                wait_s = LOOK_AGAIN_S
            if wait_s <= 0:
                self._under_way += 1
                self._booked.append((now, 1, tokens))
            return max(wait_s, 0.0)

    def _rate_wait_s(self, now: float, tokens: int) -> float:
        """Seconds until the oldest booking of a full minute is over; a lone call always fits."""
        while self._booked and self._booked[0][0] <= now - MINUTE_S:
            self._booked.popleft()
        if not self._booked:
            return 0.0
        requests = 1 + sum(booking[1] for booking in self._booked)
        tokens += sum(booking[2] for booking in self._booked)
        full = self._requests is not None and requests > self._requests
        full = full or (self._tokens is not None and tokens > self._tokens)
        return self._booked[0][0] + MINUTE_S - now if full else 0.0
