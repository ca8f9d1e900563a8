"""Runs work in a thread that leaves the event loop its turns."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

SHORT_S = 0.0001

_Args = ParamSpec("_Args")
_Found = TypeVar("_Found")


class _Turns:
    """How long a thread keeps the interpreter, while anything is done beside the loop."""

    def __init__(self) -> None:
        self._usual_s, self._busy, self._lock = 0.0, 0, threading.Lock()

    def begin(self) -> None:
        """Shorten them, unless they are."""
        with self._lock:
            if self._busy == 0:
                self._usual_s = sys.getswitchinterval()
                sys.setswitchinterval(SHORT_S)
            self._busy += 1

    def end(self) -> None:
        """Give them back their length when nobody needs short ones any more."""
        with self._lock:
            self._busy -= 1
            if self._busy == 0:
                sys.setswitchinterval(self._usual_s)


_turns = _Turns()


async def beside_the_loop(
    work: Callable[_Args, _Found], /, *args: _Args.args, **kwargs: _Args.kwargs
) -> _Found:
    """What the work gives, done in a thread.

    Reading, verifying and compiling are mostly Python, and after every system call the loop waits
    one switch interval for the interpreter: fifty times shorter turns keep it answering.
    """
    _turns.begin()
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    finally:
        _turns.end()
