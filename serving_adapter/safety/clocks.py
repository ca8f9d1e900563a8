"""Time that can be judged by: wall-clock time without its leaps, elapsed time without standstills.

A policy's term ends on the wall clock, which may be set while it runs. Set back, it is believed at
once; a leap forward counts when it has lasted, so a clock that is wrong for a minute ends nobody's
term, and one that was put right does. A process that stood still (a stopped machine, a debugger, no
processor) finds everything older than it is.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

LEAP_S = 1.0

_log = logging.getLogger("evolver.host")


class TermClock:
    """Wall-clock time by which terms end.

    Args:
        wall: seconds since 1970, as the system has them now.
        elapsed: seconds that pass evenly.
        grace_s: how long a leap forward must last to be believed.
        on_leap: told of each leap, `forward` or `back`.
    """

    def __init__(
        self,
        wall: Callable[[], float],
        elapsed: Callable[[], float],
        grace_s: float,
        on_leap: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._wall, self._elapsed = wall, elapsed
        self._grace_s, self._on_leap = grace_s, on_leap
        self._offset_s = self._seen_s = wall() - elapsed()
        self._leapt_s = math.nan

    def now(self) -> float:
        """The time to judge by; ask often, since a leap is what happens between two calls."""
        elapsed_s = self._elapsed()
        offset_s = self._wall() - elapsed_s
        change_s, self._seen_s = offset_s - self._seen_s, offset_s
        if abs(change_s) > LEAP_S:
            self._leapt(change_s, elapsed_s)
        lasted = elapsed_s - self._leapt_s >= self._grace_s
        if math.isnan(self._leapt_s) or lasted or offset_s - self._offset_s <= LEAP_S:
            self._offset_s, self._leapt_s = offset_s, math.nan
        return elapsed_s + self._offset_s

    def _leapt(self, change_s: float, elapsed_s: float) -> None:
        direction = "forward" if change_s > 0 else "back"
        _log.warning("the wall clock was set %s by %.3g s", direction, abs(change_s))
        self._on_leap(direction)
        if change_s > 0:
            self._leapt_s = elapsed_s


class Standstill:
    """Notices that a loop did not turn, and says for how long its clocks are not to be judged by.

    Args:
        pause_s: a turn that took longer was a standstill.
        settle_s: for so long after it waits that it made may still be around.
    """

    def __init__(self, pause_s: float, settle_s: float) -> None:
        self._pause_s, self._settle_s = pause_s, settle_s
        self._turned_s = math.nan
        self._until_s = -math.inf

    def turn(self, now_s: float) -> bool:
        """The loop turns; whether it stood still before."""
        stood = now_s - self._turned_s > self._pause_s
        self._turned_s = now_s
        if stood:
            self._until_s = now_s + self._settle_s
        return stood

    def settling(self, now_s: float) -> bool:
        """Whether elapsed times say nothing at present."""
        return now_s < self._until_s
