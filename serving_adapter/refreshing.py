"""Brings the rows of a table up to a decision: ages, and what follows from columns that changed."""

from __future__ import annotations

import ctypes

import numpy as np

from serving_adapter.instance_rows import PIECE_ROWS, Columns, Rows, derive_all
from serving_adapter.row_code import DESK, refresh_code
from serving_adapter.seen_rows import Ages, Floats

_NOW = DESK.index("now_s")


class Refresher:
    """Refreshes some rows for as long as they stay where they are.

    Attributes:
        changed: a byte per row, to be set by whoever changes it.
        stale: a byte per piece of rows, set here where one of its rows had changed.
    """

    def __init__(self, rows: Rows, columns: Columns, since_s: Floats, *, counted: bool) -> None:
        self.changed = bytearray(b"\1" * len(rows))
        self.stale = bytearray(b"\1" * -(-len(rows) // PIECE_ROWS))
        self._columns, self._counted = columns, counted
        self._ages = Ages(rows, since_s)
        self._flags = tuple(np.frombuffer(one, np.uint8) for one in (self.changed, self.stale))
        self._arrays = rows, since_s  # their addresses lie on the desk
        desk = np.zeros(len(DESK), np.int64)
        given = {"rows": rows, "since_s": since_s, "changed": self._flags[0],
                 "stale": self._flags[1]}  # fmt: skip
        for name, array in given.items():
            desk[DESK.index(name)] = array.ctypes.data
        desk[DESK.index("n_rows")], desk[DESK.index("counted")] = len(rows), counted
        self._desk = ctypes.c_int64(desk.ctypes.data)
        self._times_s = desk.view(np.uint8).data.cast("d")
        self._code = refresh_code()

    def write(self, now_s: float) -> None:
        """Bring every row up to now."""
        if self._code is not None:
            self._times_s[_NOW] = now_s
            self._code(self._desk)
            return
        self._ages.write(now_s)
        changed, stale = self._flags
        if changed.any():
            derive_all(self._columns, counted=self._counted)
            stale[np.flatnonzero(changed) // PIECE_ROWS] = 1
            changed[:] = 0
