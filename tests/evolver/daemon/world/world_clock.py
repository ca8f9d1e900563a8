"""A clock that jumps: nobody sleeps, and whatever is computed takes no time at all.

    with jumping() as clock:
        clock.run(main())

Everything of one process goes by it: the event loop, `time.time` and its like. Work that goes to a
thread is done at once instead, so that a world is the same again however busy its machine is.
Threads that wait, databases and other processes keep the time of the machine.
"""

import asyncio
import selectors
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from unittest.mock import patch


@dataclass
class Clock:
    """Seconds as nobody else counts them.

    Those that have passed are kept apart: since 1970 there are too many for an event loop's timers.
    """

    began_unix_s: float
    passed_s: float = 0.0

    def time(self):
        return self.began_unix_s + self.passed_s

    def monotonic(self):
        return self.passed_s

    def now(self):
        return datetime.fromtimestamp(self.time(), UTC)

    def run(self, work):
        """What comes of a coroutine."""
        with asyncio.Runner(loop_factory=lambda: _Loop(self)) as runner:
            return runner.run(work)


@contextmanager
def jumping():
    """This process goes by a clock that begins now."""
    clock = Clock(time.time())
    elapsed = clock.monotonic
    with patch.multiple(time, time=clock.time, monotonic=elapsed, perf_counter=elapsed):
        yield clock


class _Loop(asyncio.SelectorEventLoop):
    """Where others would wait, the clock is set forward."""

    def __init__(self, clock):
        self._clock = clock
        super().__init__(_Jump(clock))

    def time(self):
        return self._clock.passed_s

    def run_in_executor(self, executor, func, *args):
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


class _Jump(selectors.DefaultSelector):
    def __init__(self, clock):
        super().__init__()
        self._clock = clock

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("nothing will ever happen again")
        self._clock.passed_s += timeout
        return super().select(0.0)
