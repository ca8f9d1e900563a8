"""What a decision saw of the instance table, kept in pieces that decisions share.

Copying every row for each decision would cost more than the decision. So the table hands out
immutable pieces of a few rows and copies a piece again only after one of its rows has changed. Ages
follow from the time, and what depends on the request (its cached prefix, its tenant's requests) is
noted beside the pieces; `SeenRows.whole` puts the rows together again, bit for bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sandbox import contract
from sandbox.records import dtype_of
from serving_adapter.instance_rows import (
    PIECE_ROWS,
    ROW_WORDS,
    WORD,
    WORD_BYTES,
    Rows,
    rows_where,
)

_PIECE_BYTES = PIECE_ROWS * ROW_WORDS * WORD_BYTES
_SINCE_BYTES = PIECE_ROWS * 2 * WORD_BYTES

Floats = npt.NDArray[np.float64]
Tenants = tuple[tuple[int, int], ...] | bytes
"""A tenant's requests: (position, count) where there are any, or an int64 for every row."""


Piece = tuple[bytes, bytes]
"""Some rows as they stood, and what `Ages` needs of them."""


class SeenRows(NamedTuple):
    """The rows of one decision.

    Attributes:
        pieces: all rows of the table.
        cached: of this request's prompt: (position, tokens); None where nothing is.
        tenants: of this request's tenant; None where requests are not counted.
        offered: a byte per row, 1 where it was offered; None when all were.
        n_rows: how many were offered.
        n_copied: pieces that were copied for this decision, as no earlier one has them.
    """

    pieces: tuple[Piece, ...]
    now_s: float
    cached: tuple[int, int] | None
    tenants: Tenants | None
    offered: bytes | None
    n_rows: int
    n_copied: int = 0

    def whole(self) -> bytes:
        """The offered rows as the policy was given them, before rotation.

        Raises:
            ValueError: pieces, marks and rows do not fit together; none of ours are like that.
        """
        content = bytearray().join([rows for rows, _ in self.pieces])
        rows = np.frombuffer(content, dtype_of(contract.Instance))
        since_s = np.frombuffer(b"".join([since for _, since in self.pieces])).reshape(-1, 2)
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


def own_bytes(rows: SeenRows | bytes) -> int:
    """How much these rows hold that no earlier decision does."""
    if isinstance(rows, bytes):
        return len(rows)
    marks = len(rows.tenants) if isinstance(rows.tenants, bytes) else 0
    return rows.n_copied * _PIECE_BYTES + 8 * len(rows.pieces) + marks


class SharedPieces:
    """The pieces of a table's rows, each copied again after a change of it.

    Args:
        rows: are copied, with `since_s` of them.
        stale: a byte per piece, set where a row has changed since it was copied.
    """

    def __init__(self, rows: Rows, since_s: Floats, stale: bytearray) -> None:
        self._content = rows.view(np.uint8).data
        self._since = since_s.reshape(-1).view(np.uint8).data
        self._stale = stale
        self._pieces: tuple[Piece, ...] = (_NOTHING,) * len(stale)

    def all(self) -> tuple[tuple[Piece, ...], int]:
        """Every piece as it stands now, and how many were copied for it."""
        stale = self._stale
        number = stale.find(1)
        if number < 0:
            return self._pieces, 0
        pieces, copied = list(self._pieces), 0
        content, since = self._content, self._since
        while number >= 0:
            stale[number], copied = 0, copied + 1
            start, first = number * _PIECE_BYTES, number * _SINCE_BYTES
            pieces[number] = (
                bytes(content[start : start + _PIECE_BYTES]),
                bytes(since[first : first + _SINCE_BYTES]),
            )
            number = stale.find(1, number + 1)
        self._pieces = tuple(pieces)
        return self._pieces, copied


_NOTHING = b"", b""
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
