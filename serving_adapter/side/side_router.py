"""Asks a policy in a side process for decisions: a page, a question, an answer, a deadline.

A request never waits for longer than the deadline, and not at all while an earlier answer is late.
A process that dies is replaced once; the second death in a minute is final. Whatever the process
sends is checked for length, number and status, and one that sends anything else is killed.
"""

from __future__ import annotations

import logging
import select
import socket
import time
import weakref
from collections.abc import Callable
from functools import partial

from sandbox.errors import PolicyFault
from sandbox.frame import FAULTS, OK
from serving_adapter.activation import Memory, Rows
from serving_adapter.errors import (
    PolicyUnusable,
    SideProcessAway,
    SideProcessDied,
    SideProcessError,
    SideProcessSlow,
)
from serving_adapter.side.side_page import ANSWER, ASK, MAX_INSTANCES, Page

HANG_S = 1.0  # an answer that is this late never comes
RESPAWN_WINDOW_S = 60.0

_log = logging.getLogger("evolver.host")


class BrokenProcess(Exception):
    """A side process is of no use any more; the text says what it did."""


class SideProcess:
    """One child with a policy in it; it is killed when this object goes."""

    def __init__(
        self, pid: int, channel: socket.socket, page: Page, end: Callable[[], None]
    ) -> None:
        self.pid = pid
        channel.setblocking(False)
        self._channel = channel
        self._page = page
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        self._number = 0
        self._unanswered: int | None = None
        self._asked_s = self._cpu_s = 0.0
        self.end = weakref.finalize(self, end)

    def ask(self, request: Rows, instances: Rows, memory: Memory, rotation: int, fuel: int) -> None:
        """Put a question, without waiting.

        Raises:
            SideProcessAway: an earlier one is still unanswered, or there are too many rows.
            SideProcessSlow: it does not even take the question.
            BrokenProcess: it is gone, hangs, or sends what it should not.
        """
        self._settle()
        if len(instances) > MAX_INSTANCES:
            raise SideProcessAway(f"A side process takes {MAX_INSTANCES} instances at most.")
        self._page.put(request, instances, memory)
        self._number += 1
        try:
            self._channel.send(ASK.pack(self._number, len(instances), rotation, fuel))
        except BlockingIOError as full:
            raise SideProcessSlow("The side process takes no questions.") from full
        except OSError as error:
            raise BrokenProcess("it is gone") from error
        self._unanswered, self._asked_s = self._number, time.monotonic()
        self._cpu_s = _cpu_s(self.pid)

    def answer(self, memory: Memory, deadline_s: float) -> tuple[int, int]:
        """The frame's status and the choice; the policy's memory comes back too.

        Raises:
            SideProcessSlow: not within the deadline.
            BrokenProcess: it is gone, or sends what it should not.
        """
        until_s = time.perf_counter() + deadline_s
        while (left_s := until_s - time.perf_counter()) > 0 and self._poll.poll(1000 * left_s):
            found = self._take()
            if found is not None:
                memory[:] = self._page.memory
                return found
        raise SideProcessSlow(
            f"The side process gave no answer within {deadline_s:g} s.",
            busy_s=_cpu_s(self.pid) - self._cpu_s,
        )

    def _settle(self) -> None:
        """The page may be written again only when nobody reads it any more."""
        if self._unanswered is None or self._take() is not None:
            return
        if time.monotonic() - self._asked_s > HANG_S:
            raise BrokenProcess(f"it gave no answer for {HANG_S:g} s")
        raise SideProcessAway("The side process is busy with an earlier request.")

    def _take(self) -> tuple[int, int] | None:
        """The answer, if it is here; nothing else may be."""
        try:
            packet = self._channel.recv(ANSWER.size + 1)
        except BlockingIOError:
            return None
        except OSError as error:
            raise BrokenProcess("it is gone") from error
        if not packet:
            raise BrokenProcess("it ended")
        if len(packet) != ANSWER.size:
            raise BrokenProcess("its answer has the wrong length")
        number, status, choice = ANSWER.unpack(packet)
        if number != self._unanswered:
            raise BrokenProcess("it answered what nobody asked")
        if status != OK and status not in FAULTS:
            raise BrokenProcess("its answer has a status that none has")
        self._unanswered = None
        return status, choice


def _cpu_s(pid: int) -> float:
    """Processor time of another process; 0 when it is gone.

    Linux names a process's clock after its id (`CPUCLOCK_SCHED` in its sources).
    """
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


Later = Callable[[Callable[[], None]], None]
"""Does something soon, in the thread that starts processes."""


class SideRouter:
    """The `route` of a policy in a side process; see `activation.Router`.

    Besides `PolicyFault`, `route` raises `SideProcessSlow` for a missed deadline, `SideProcessAway`
    while there is nobody to ask, and `SideProcessDied` for each death, for ever after the last.

    Args:
        start: makes a process that has loaded the policy; called in the thread of `later`.
        later: how to get there.
        deadline_s: for one decision; may be changed at any time.
    """

    def __init__(
        self, first: SideProcess, start: Callable[[], SideProcess], later: Later, deadline_s: float
    ) -> None:
        self.deadline_s = deadline_s
        self._start = start
        self._later = later
        self._died_s = -RESPAWN_WINDOW_S
        self._gone = ""
        self._process: SideProcess | None = first

    @property
    def process(self) -> SideProcess | None:
        """The one that decides; None while there is none."""
        return self._process

    def route(
        self, request: Rows, instances: Rows, memory: Memory, rotation: int, fuel: int
    ) -> int:
        """See `Router.route`."""
        process = self._process
        if process is None:
            raise self._nobody()
        try:
            process.ask(request, instances, memory, rotation, fuel)
            status, choice = process.answer(memory, self.deadline_s)
        except BrokenProcess as broken:
            raise self._died(process, str(broken)) from broken
        if status != OK:
            raise PolicyFault("route", status, FAULTS[status])
        return choice

    def close(self) -> None:
        """End the process; no other is started."""
        self._gone = self._gone or "it was closed"
        if self._process is not None:
            self._process.end()
            self._process = None

    def _nobody(self) -> SideProcessError:
        if self._gone:
            return SideProcessDied(f"The side process is gone: {self._gone}.", final=True)
        return SideProcessAway("The side process died and its successor is being started.")

    def _died(self, process: SideProcess, how: str) -> SideProcessDied:
        now_s = time.monotonic()
        final = now_s - self._died_s < RESPAWN_WINDOW_S
        self._died_s = now_s
        self._process = None
        process.end()
        _log.error("side process %d: %s", process.pid, how)
        if final:
            self._gone = f"{how}, the second one in {RESPAWN_WINDOW_S:g} s"
        else:
            self._later(partial(_replace, weakref.ref(self)))
        return SideProcessDied(f"The side process is of no use any more: {how}.", final=final)

    def replace(self) -> None:
        """Start a successor; for the thread that starts processes."""
        try:
            process = self._start()
        except PolicyUnusable as refusal:
            self._gone = f"no successor could be started ({refusal})"
            return
        if self._gone:
            process.end()
        else:
            self._process = process


def _replace(router: weakref.ref[SideRouter]) -> None:
    """Nobody needs a successor of what is not there any more."""
    present = router()
    if present is not None:
        present.replace()
