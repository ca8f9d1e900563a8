"""Append-only files of one line per event, written beside what serves and never waited for.

A file that is renamed, as rotation does, is followed by a new one of the old name.
When a file is not written to the disk in time, or the disk is full, lines are dropped and counted.
A line that was cut short, by a full disk or by the end of a process, is ended before the next one.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from serving_adapter.errors import AdapterError

MAX_WAITING = 100_000
FLUSH_S, CLOSE_S = 0.05, 5.0
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC

T = TypeVar("T")

_log = logging.getLogger("evolver.host")


class LineFile(Generic[T]):
    """A file that takes records; without a path it keeps nothing.

    Args:
        path: made where it is not; its folder must be there.
        line_of: makes the line, ASCII with its end, where it is written.
        what: the file, in the words of an error.
        otherwise: what to do when it cannot be opened.
        most: records that may wait.

    Raises:
        AdapterError: the file cannot be opened.
    """

    def __init__(
        self,
        path: Path | None,
        line_of: Callable[[T], str],
        what: str,
        otherwise: str,
        most: int = MAX_WAITING,
    ) -> None:
        self.dropped = 0
        self._line_of, self._what, self._most = line_of, what, most
        self._waiting: deque[T] = deque()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._path = path
        self._cut = False  # the last line has no end
        self._descriptor: int | None = None
        if path is None:
            return
        try:
            self._descriptor = os.open(path, _FLAGS, 0o640)
        except OSError as error:
            raise AdapterError(
                f"The {what} {path} cannot be written: {error.strerror}; {otherwise}."
            ) from error
        self._cut = _cut_short(path)

    def put(self, record: T) -> None:
        """Have a line written at the next `flush`; takes no lock."""
        if self._descriptor is None:
            return
        if len(self._waiting) >= self._most:
            self._drop()
        else:
            self._waiting.append(record)

    def start(self) -> None:
        """Flush from a thread, until `close`; for doors that have no thread for it."""
        self._thread = threading.Thread(target=self._run, name="evolver-lines", daemon=True)
        self._thread.start()

    def flush(self) -> None:
        """Write what is waiting; from one thread only."""
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not waiting or self._descriptor is None:
            return
        self._follow()
        lines = "".join(map(self._line_of, waiting)).encode("ascii")
        if self._cut:
            lines = b"\n" + lines
        try:
            while lines:  # a signal or a full disk may cut a write short
                written = os.write(self._descriptor, lines)
                self._cut = not lines[:written].endswith(b"\n")
                lines = lines[written:]
        except OSError:
            self._drop(len(waiting))

    def close(self) -> None:
        """Write what is left and close the file, unless the disk hangs."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)
            if self._thread.is_alive():
                return
        self.flush()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_S):
            self.flush()

    def _follow(self) -> None:
        """Open the file anew when somebody has renamed or removed it, as rotation does."""
        if self._path is None or self._descriptor is None:
            return
        try:
            if os.path.samestat(os.stat(self._path), os.fstat(self._descriptor)):
                return
        except OSError:  # renamed, and nothing in its place yet
            pass
        try:
            fresh = os.open(self._path, _FLAGS, 0o640)
        except OSError:
            return  # the old one still takes lines
        os.close(self._descriptor)
        self._descriptor, self._cut = fresh, _cut_short(self._path)

    def _drop(self, count: int = 1) -> None:
        if not self.dropped:
            _log.error("the %s does not take all that is written to it", self._what)
        self.dropped += count


def _cut_short(path: Path) -> bool:
    """Whether a file that is there already ends within a line."""
    try:
        if not path.is_file():  # whoever reads a pipe waits for it
            return False
        with path.open("rb") as raw:
            if raw.seek(0, os.SEEK_END) == 0:
                return False
            raw.seek(-1, os.SEEK_END)
            return raw.read(1) != b"\n"
    except OSError:
        return False
