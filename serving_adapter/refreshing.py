"""Brings the rows of a table up to a decision: ages, and what follows from columns that changed.

What changed goes into a log on the way, so that decisions can be replayed; see `seen_rows`.
"""

from __future__ import annotations

import ctypes
from collections import deque

import numpy as np
import numpy.typing as npt

from serving_adapter.instance_rows import ROW_WORDS, Columns, Rows, derive_all
from serving_adapter.row_code import DESK, row_code
from serving_adapter.seen_rows import (
    AGE_WORDS,
    CHANGE_BYTES,
    CHANGE_WORDS,
    Ages,
    Buffers,
    Floats,
    RowLog,
)

LEAST_CHANGES = 256
CHANGES_PER_ROW = 2
"""A log takes so many changes before the next: at least, and for each of many rows."""

MOST_SPARE = 16  # buffers of logs that nobody needs any more

_NOW, _LOG, _LOGGED, _ROOM = (DESK.index(name) for name in ("now_s", "log", "n_logged", "room"))


class Refresher:
    """Refreshes some rows for as long as they stay where they are.

    Attributes:
        changed: a byte per row, to be set by whoever changes it.
    """

    def __init__(self, rows: Rows, columns: Columns, since_s: Floats, *, counted: bool) -> None:
        self.changed = bytearray(b"\1" * len(rows))
        self._columns, self._counted = columns, counted
        self._ages = Ages(rows, since_s)
        self._rows, self._since_s = rows, since_s
        self._flags = np.frombuffer(self.changed, np.uint8)
        self._size = max(LEAST_CHANGES, CHANGES_PER_ROW * len(rows))
        desk = np.zeros(len(DESK), np.int64)
        for name, array in (("rows", rows), ("since_s", since_s), ("changed", self._flags)):
            desk[DESK.index(name)] = array.ctypes.data
        desk[DESK.index("n_rows")], desk[DESK.index("counted")] = len(rows), counted
        self._desk = ctypes.c_int64(desk.ctypes.data)
        content = desk.view(np.uint8).data
        self._numbers, self._times_s = content.cast("q"), content.cast("d")
        self._seen = 0  # of the changes in the log
        self._log: RowLog | None = None
        self._spare: deque[Buffers] = deque(maxlen=MOST_SPARE)
        self._contents = tuple(one.reshape(-1).view(np.uint8).data for one in (rows, since_s))
        self._code = row_code()

    def write(self, now_s: float) -> None:
        """Bring every row up to now."""
        if self._code is not None:
            self._times_s[_NOW] = now_s
            self._code.refresh(self._desk)
            return
        self._ages.write(now_s)
        changed = self._flags
        if changed.any():
            derive_all(self._columns, counted=self._counted)
            self._note(np.flatnonzero(changed))
            changed[:] = 0

    def _note(self, at: npt.NDArray[np.intp]) -> None:
        """Put rows at the end of the log, as far as there is room."""
        first, room = self._numbers[_LOGGED], self._numbers[_ROOM]
        self._numbers[_LOGGED] = first + len(at)
        if first + len(at) > room or self._log is None:
            return
        to = np.frombuffer(self._log.changes, np.int64).reshape(-1, CHANGE_WORDS)
        to = to[first : first + len(at)]
        to[:, 0], to[:, 1 : 1 + AGE_WORDS] = at, self._since_s.view(np.int64)[at]
        to[:, 1 + AGE_WORDS :] = self._rows.view(np.int64).reshape(-1, ROW_WORDS)[at]

    def seen(self) -> tuple[RowLog, int, int]:
        """Where the rows are as they were last written, how many changes are, and bytes since."""
        logged, log = self._numbers[_LOGGED], self._log
        if log is None or logged > self._numbers[_ROOM]:
            return self._begin()
        new, self._seen = logged - self._seen, logged
        return log, logged, new * CHANGE_BYTES

    def _begin(self) -> tuple[RowLog, int, int]:
        """A new log, of the rows as they are."""
        try:
            buffers = self._spare.pop()
        except IndexError:
            buffers = Buffers(self._rows.nbytes, self._since_s.nbytes, self._size)
        memoryview(buffers.rows)[:], memoryview(buffers.since_s)[:] = self._contents
        log = self._log = RowLog(buffers, self._spare)
        self._numbers[_LOG] = buffers.address
        self._seen = self._numbers[_LOGGED] = 0
        self._numbers[_ROOM] = self._size
        return log, 0, len(log.rows) + len(log.since_s)
