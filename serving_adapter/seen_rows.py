"""What a decision saw of the instance table: rows as they once stood, and what has changed since.

Copying every row for each decision would cost more than the decision. So rows are copied once, into
a log that then takes each row that changes, and a decision notes how much of the log it has seen.
Ages follow from the time, and what depends on the request (its cached prefix, its tenant's
requests) is noted beside it; `SeenRows.whole` puts the rows together again, bit for bit.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sandbox import contract
from sandbox.records import dtype_of
from serving_adapter.instance_rows import ROW_WORDS, WORD, WORD_BYTES, Rows, rows_where

AGE_WORDS = 2
CHANGE_WORDS = 1 + AGE_WORDS + ROW_WORDS
CHANGE_BYTES = WORD_BYTES * CHANGE_WORDS
"""Of a row that has changed: its position, what `Ages` needs of it, the row."""

Floats = npt.NDArray[np.float64]
Tenants = tuple[tuple[int, int], ...] | bytes
"""A tenant's requests: (position, count) where there are any, or an int64 for every row."""


class Buffers:
    """Memory for a log, which may be for another one later.

    Attributes:
        rows: `contract.Instance` records.
        since_s: what `Ages` needs of them, two float64 each.
        changes: `CHANGE_BYTES` each.
        address: of `changes`, as long as they keep their size.
    """

    __slots__ = ("address", "changes", "rows", "since_s")

    def __init__(self, rows_bytes: int, since_bytes: int, n_changes: int) -> None:
        self.rows, self.since_s = bytearray(rows_bytes), bytearray(since_bytes)
        self.changes = bytearray(n_changes * CHANGE_BYTES)
        self.address = int(np.frombuffer(self.changes, np.uint8).ctypes.data)


class RowLog:
    """All rows of a table as they once stood, and behind each other the rows that changed since.

    What was written of the changes stays. Memory that the system gives anew takes longer than many
    decisions, so that of a log which nobody needs any more goes to `spare`.
    """

    __slots__ = ("_buffers", "_spare", "changes", "rows", "since_s")

    def __init__(self, buffers: Buffers, spare: deque[Buffers] | None = None) -> None:
        self._buffers, self._spare = buffers, spare
        self.rows, self.since_s, self.changes = buffers.rows, buffers.since_s, buffers.changes

    def __del__(self) -> None:
        if self._spare is not None:
            self._spare.append(self._buffers)

    def after(self, n_changes: int) -> tuple[Rows, Floats]:
        """Copies of rows and times after so many changes.

        Raises:
            ValueError, IndexError: the parts do not fit together; none of ours are like that.
        """
        rows = np.frombuffer(self.rows.copy(), dtype_of(contract.Instance))
        since_s = np.frombuffer(self.since_s.copy()).reshape(-1, AGE_WORDS)
        changes = np.frombuffer(self.changes, np.int64, n_changes * CHANGE_WORDS)
        changes = changes.reshape(-1, CHANGE_WORDS)
        at, words = changes[:, 0], rows.view(np.int64).reshape(-1, ROW_WORDS)
        # Of several changes of one row the last one stays.
        since_s.view(np.int64)[at] = changes[:, 1 : 1 + AGE_WORDS]
        words[at] = changes[:, 1 + AGE_WORDS :]
        return rows, since_s


class SeenRows(NamedTuple):
    """The rows of one decision.

    Attributes:
        log: where they are, after `n_changes` of its changes.
        cached: of this request's prompt: (position, tokens); None where nothing is.
        tenants: of this request's tenant; None where requests are not counted.
        offered: a byte per row, 1 where it was offered; None when all were.
        n_rows: how many were offered.
        own_bytes: how much of this no earlier decision has.
    """

    log: RowLog
    n_changes: int
    now_s: float
    cached: tuple[int, int] | None
    tenants: Tenants | None
    offered: bytes | None
    n_rows: int
    own_bytes: int = 0

    def whole(self) -> bytes:
        """The offered rows as the policy was given them, before rotation.

        Raises:
            ValueError, IndexError: log, marks and rows do not fit together; none of ours are like
                that.
        """
        rows, since_s = self.log.after(self.n_changes)
        with np.errstate(all="ignore"):  # a file may hold any bits
            Ages(rows, since_s).write(self.now_s)
        self._mark(rows)
        if self.offered is not None:
            rows = rows_where(rows, np.frombuffer(self.offered, np.uint8) != 0)
        if len(rows) != self.n_rows:
            raise ValueError("other rows than were offered")
        return rows.tobytes()

    def _mark(self, rows: Rows) -> None:
        rows["cached_prefix_tokens"][:] = 0
        if self.cached is not None:
            rows["cached_prefix_tokens"][self.cached[0]] = self.cached[1]
        if self.tenants is None:
            return
        if isinstance(self.tenants, bytes):
            rows["tenant_requests"][:] = np.frombuffer(self.tenants, np.int64)
            return
        rows["tenant_requests"][:] = 0
        for position, count in self.tenants:
            rows["tenant_requests"][position] = count


NO_AGES = np.array([[np.nan, np.inf]])
"""Of an engine that gave no signals and in which nobody waits."""


class Ages:
    """Writes `signal_age_s` and `oldest_wait_s`, which follow from the time alone.

    Args:
        rows: are written.
        since_s: of each row, when its signals are from (NaN: never), and since when the request
            waits that waits longest (infinite: none does, so its wait is zero).
    """

    def __init__(self, rows: Rows, since_s: Floats) -> None:
        self._since_s, self._known_s = since_s, np.empty_like(since_s)
        self._now_s = np.zeros(())
        first, second = WORD["signal_age_s"], WORD["oldest_wait_s"]
        words = rows.view(np.float64).reshape(len(rows), ROW_WORDS)
        self._ages_s = words[:, first : second + 1 : second - first]

    def write(self, now_s: float) -> None:
        """Bring both columns up to now."""
        self._now_s[()] = now_s
        np.minimum(self._since_s, self._now_s, out=self._known_s)
        np.subtract(self._now_s, self._known_s, out=self._ages_s)
