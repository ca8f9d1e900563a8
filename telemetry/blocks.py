"""Prefix blocks of requests as a compressed row table, and the array moves on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """For each request the ids of the blocks its prompt consists of, first block first.

    Attributes:
        offsets: int64 ``[n + 1]``; request ``i`` owns ``ids[offsets[i]:offsets[i + 1]]``.
        ids: int ``[offsets[n]]``; equal ids mean equal content *and* equal content before it.
        tokens: tokens in one block; 0 when nothing is known about reuse.
    """

    offsets: Ints
    ids: NDArray[np.integer]
    tokens: int

    @classmethod
    def none(cls, rows: int) -> Blocks:
        """No reuse information for ``rows`` requests."""
        return cls(np.zeros(rows + 1, np.int64), np.zeros(0, np.int32), 0)

    @classmethod
    def of_lists(cls, rows: list[list[int]], tokens: int) -> Blocks:
        """Blocks from one list of ids per request."""
        counts = np.fromiter(map(len, rows), np.int64, len(rows))
        flat = np.fromiter((block for row in rows for block in row), np.int64, int(counts.sum()))
        return cls(offsets_of(counts), flat, tokens)

    def take(self, order: ArrayLike) -> Blocks:
        """The rows at ``order`` (int ``[m]``), in that order."""
        picked = np.asarray(order, np.int64)
        counts = np.diff(self.offsets)[picked]
        offsets = offsets_of(counts)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
        return Blocks(offsets, self.ids[np.repeat(self.offsets[picked], counts) + within],
                      self.tokens)

    def between(self, first: int, stop: int) -> Blocks:
        """The rows ``first`` up to ``stop``, as a view."""
        offsets = self.offsets[first : stop + 1]
        return Blocks(offsets - offsets[0], self.ids[offsets[0] : offsets[-1]], self.tokens)

    def compact(self) -> Blocks:
        """The same blocks with ids renamed to 0..U-1 in the order in which they first appear."""
        return Blocks(self.offsets, first_seen_codes(self.ids), self.tokens)


def offsets_of(counts: Ints) -> Ints:
    """Row counts ``[n]`` to row offsets ``[n + 1]``."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def first_seen_codes(values: NDArray[np.integer]) -> NDArray[np.int32]:
    """Rename integers to 0..U-1 in the order in which they first appear."""
    if not len(values):
        return np.zeros(0, np.int32)
    if _is_compact(values):
        return values.astype(np.int32)
    unique, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    rank = np.empty(len(unique), np.int32)
    rank[np.argsort(first, kind="stable")] = np.arange(len(unique), dtype=np.int32)
    codes: NDArray[np.int32] = rank[inverse.reshape(-1)]
    return codes


def _is_compact(values: NDArray[np.integer]) -> bool:
    """Whether each value is at most one above the greatest before it, starting at 0."""
    if values.min() < 0 or values[0] != 0:
        return False
    seen = np.maximum.accumulate(values)
    return bool(np.all(np.diff(seen) <= 1))


def roots(after: NDArray[np.integer]) -> Ints:
    """The open arrival at the head of each request's chain.

    Args:
        after: int ``[n]``, ``-1 <= after[i] < i``.
    """
    rows = np.arange(len(after), dtype=np.int64)
    root = np.where(after < 0, rows, after).astype(np.int64)
    while True:
        further = root[root]
        if np.array_equal(further, root):
            return root
        root = further
