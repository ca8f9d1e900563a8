"""Further parents of requests as a compressed row table: what else must end to reveal one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telemetry.blocks import Blocks, offsets_of, roots

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Joins:
    """For each request the rows that must have ended besides the one it comes after.

    Attributes:
        offsets: int64 ``[n + 1]``; request ``i`` owns ``rows[offsets[i]:offsets[i + 1]]``.
        rows: int ``[offsets[n]]``, earlier rows of the same workflow.
    """

    offsets: Ints
    rows: NDArray[np.integer]

    @classmethod
    def none(cls, count: int) -> Joins:
        """No further parents for ``count`` requests."""
        return cls(np.zeros(count + 1, np.int64), np.zeros(0, np.int32))

    @classmethod
    def of_lists(cls, parents: list[list[int]]) -> Joins:
        """Joins from one list of rows per request."""
        table = Blocks.of_lists(parents, 0)
        return cls(table.offsets, table.ids)

    @property
    def owners(self) -> Ints:
        """For each entry of ``rows`` the request that waits for it."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def take(self, order: Ints, place: Ints) -> Joins:
        """The requests at ``order``, with rows renamed by ``place``."""
        table = Blocks(self.offsets, self.rows, 0).take(order)
        return Joins(table.offsets, place[table.ids])

    def between(self, first: int, stop: int) -> Joins:
        """The requests ``first`` up to ``stop``, rows counted from ``first`` (below 0: cut off)."""
        table = Blocks(self.offsets, self.rows, 0).between(first, stop)
        return Joins(table.offsets, table.ids.astype(np.int64) - first)

    def within(self, after: NDArray[np.integer]) -> Joins:
        """Without the entries that lie outside their owner's workflow, as given by ``after``."""
        inside = self.rows >= 0
        root = roots(after)
        inside[inside] = root[self.rows[inside]] == root[self.owners[inside]]
        counts = np.bincount(self.owners[inside], minlength=len(after))
        return Joins(offsets_of(counts), self.rows[inside])


def joined(parts: list[Joins]) -> Joins:
    """Joins of several traces one behind the other."""
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    first = np.cumsum([0, *(len(part.offsets) - 1 for part in parts)])
    rows = [part.rows.astype(np.int64) + at for part, at in zip(parts, first, strict=False)]
    return Joins(offsets_of(counts), np.concatenate(rows))
