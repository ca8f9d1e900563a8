"""Whether a process runs what its host has admitted, or has to leave readiness.

All processes of a host share the floor, the highest sequence that any of them has admitted. One
that runs less for longer than `LiveLimits.behind_s` would answer by an older policy than its
neighbours, so it says that it is behind, and doors refuse work until it has caught up. It is never
made to go back, and it never goes live with something else to get ahead.

A floor that was there before this process started counts only while another process serves it: a
host that starts alone with a snapshot that cannot be used serves by its built-in default.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

MAX_WANTED = 256
ASK_OTHERS_S = 0.5

_log = logging.getLogger("evolver.host")


class _Wanted(NamedTuple):
    """A sequence that this process does not run yet, since when, and whether it saw it come."""

    sequence: int
    since_s: float
    came: bool


class FloorWatch:
    """Compares the floor with what runs; `look` belongs to one thread, `behind` to all.

    Args:
        floor: the highest sequence that any process of the host has admitted.
        runs: the sequence that this process runs.
        others: whether another living process of the host runs at least that sequence.
        behind_s: for how long this process may run less.
        show: told whenever `behind` changes.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        floor: Callable[[], int],
        runs: Callable[[], int],
        others: Callable[[int], bool],
        *,
        behind_s: float,
        show: Callable[[bool], None],
        clock: Callable[[], float],
    ) -> None:
        self.behind = False
        self._floor, self._runs, self._others = floor, runs, others
        self._behind_s, self._show, self._now_s = behind_s, show, clock
        self._wanted: deque[_Wanted] = deque()
        self._highest: int | None = None
        self._served, self._asked_s = False, -ASK_OTHERS_S

    def look(self) -> None:
        """Read the floor, and say whether it has been above what runs for too long."""
        floor, now_s = self._floor(), self._now_s()
        if floor > (self._highest or 0):
            self._want(_Wanted(floor, now_s, came=self._highest is not None))
        self._highest = max(floor, self._highest or 0)
        while self._wanted and self._wanted[0].sequence <= self._runs():
            self._wanted.popleft()
        self._set(self._is_behind(now_s))

    def _want(self, wanted: _Wanted) -> None:
        """Ever so many swaps may come while a process stands still: the oldest says how long."""
        if len(self._wanted) == MAX_WANTED:
            last = self._wanted.pop()
            wanted = last._replace(sequence=wanted.sequence)
        self._wanted.append(wanted)

    def _is_behind(self, now_s: float) -> bool:
        late = [one for one in self._wanted if now_s - one.since_s > self._behind_s]
        if not late or any(one.came for one in late):
            return bool(late)
        if now_s - self._asked_s >= ASK_OTHERS_S:
            self._served, self._asked_s = self._others(late[0].sequence), now_s
        return self._served

    def _set(self, behind: bool) -> None:
        if behind == self.behind:
            return
        self.behind = behind
        self._show(behind)
        if behind:
            _log.error(
                "this process is behind: it runs sequence %d and its host has admitted %d",
                self._runs(), self._highest,
            )  # fmt: skip
        else:
            _log.info("this process has caught up with sequence %d", self._runs())
