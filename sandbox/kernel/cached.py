"""Table of what one instance's prefix cache holds: rows, a hash index, and the order of release.

Rows of `cached[i]` are handed out and taken back; `cache_index[i]` is an open-addressing hash from
segment to row, (segment + 1) << 32 | row in every used slot, with backward shifts instead of
tombstones, so that it never needs rebuilding.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.jit import kernel
from sandbox.kernel.state import Sim

_SPREAD = 0x9E3779B1  # odd, near 2**32 over the golden ratio: groups land far apart
_GROUP = 9  # bits: segments that appeared together share a page


@kernel
def _slot(s: Sim, g: int) -> int:
    """Where the search for a segment begins."""
    low = g & ((1 << _GROUP) - 1)
    return ((((g >> _GROUP) * _SPREAD) >> 7 << _GROUP) | low) & (s.cache_index.shape[1] - 1)


@kernel
def find(s: Sim, i: int, g: int) -> int:
    """Row of a segment that instance `i` holds, as the bits of `segments` say."""
    last = s.cache_index.shape[1] - 1
    k = _slot(s, g)
    while s.cache_index[i, k] >> 32 != g + 1:
        k = (k + 1) & last
    return s.cache_index[i, k] & 0xFFFFFFFF


@kernel
def put(s: Sim, i: int, g: int) -> int:
    """A new row for a segment that has none; -1 when the table is full, and it is not cached."""
    inst = s.instances[i]
    c = inst.cache_spare
    if c >= 0:
        inst.cache_spare = s.cached[i, c].after
    elif inst.cache_rows < s.cached.shape[1]:
        c = inst.cache_rows
        inst.cache_rows += 1
    else:
        return -1
    last = s.cache_index.shape[1] - 1
    k = _slot(s, g)
    while s.cache_index[i, k] != 0:
        k = (k + 1) & last
    s.cache_index[i, k] = ((g + 1) << 32) | c
    row = s.cached[i, c]
    row.segment = g
    row.users = 0
    row.hits = 0
    row.present = 0
    row.value = 0.0
    return c


@kernel
def forget(s: Sim, i: int, c: int) -> None:
    """Give a row back and close the gap it leaves in the index."""
    last = s.cache_index.shape[1] - 1
    hole = _slot(s, s.cached[i, c].segment)
    while s.cache_index[i, hole] & 0xFFFFFFFF != c or s.cache_index[i, hole] == 0:
        hole = (hole + 1) & last
    k = (hole + 1) & last
    while s.cache_index[i, k] != 0:
        home = _slot(s, (s.cache_index[i, k] >> 32) - 1)
        if ((k - home) & last) >= ((k - hole) & last):
            s.cache_index[i, hole] = s.cache_index[i, k]
            hole = k
        k = (k + 1) & last
    s.cache_index[i, hole] = 0
    s.cached[i, c].after = s.instances[i].cache_spare
    s.instances[i].cache_spare = c


@kernel
def unlink(s: Sim, i: int, c: int) -> None:
    """Take a row out of the order of release."""
    row, inst = s.cached[i, c], s.instances[i]
    if row.before >= 0:
        s.cached[i, row.before].after = row.after
    else:
        inst.cache_head = row.after
    if row.after >= 0:
        s.cached[i, row.after].before = row.before
    else:
        inst.cache_tail = row.before


@kernel
def touch_last(s: Sim, i: int, c: int) -> None:
    """Put a row at the end of the order of release."""
    row, inst = s.cached[i, c], s.instances[i]
    row.after = -1
    row.before = inst.cache_tail
    if inst.cache_tail >= 0:
        s.cached[i, inst.cache_tail].after = c
    else:
        inst.cache_head = c
    inst.cache_tail = c
