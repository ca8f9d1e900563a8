"""A thread that does what it is told, one thing after the other, and takes orders from anywhere.

`concurrent.futures` takes two locks for each order. A finalizer runs wherever the garbage collector
does, which may be while the same thread holds one of them; it would wait for itself for ever.
`queue.SimpleQueue.put` is made for that case.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

_log = logging.getLogger("evolver.host")


class ErrandThread:
    """One thread, from the first order until `close`; what it is told after that is not done."""

    def __init__(self, name: str) -> None:
        self._orders: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def soon(self, work: Callable[[], None]) -> None:
        """Have it done, without waiting and without any lock; a failure is logged."""
        self._orders.put(work)

    def result(self, work: Callable[[], T]) -> T:
        """Have it done and wait for what it returns or raises.

        Raises:
            RuntimeError: the thread was closed.
        """
        if self._closed:
            raise RuntimeError(f"The thread {self._thread.name} is closed: start another.")
        future: Future[T] = Future()

        def answer() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        self._orders.put(answer)
        return future.result()

    def close(self) -> None:
        """Finish what was told before, then end."""
        self._closed = True
        self._orders.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (work := self._orders.get()) is not None:
            try:
                work()
            except Exception as error:
                _log.error("%s: %s", self._thread.name, type(error).__name__)
            del work
