"""What the prefix caches of all instances hold: one row per segment and instance, and two orders.

Rows of `cached` are handed out and taken back. A segment's rows are a chain that begins in
`segments`, short because few instances hold the same segment; those that many requests pass have a
row number per instance in `popular` instead. An instance's entries without users are a list in
order of release. Where the policy has `prewarm`, an instance remembers what it evicted last.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.contract import MAX_ENTRIES
from sandbox.kernel.jit import kernel
from sandbox.kernel.state import FIRST_ROW, Sim


@kernel
def find(s: Sim, i: int, g: int) -> int:
    """Row of a segment that instance `i` holds, as the bits of `segments` say."""
    c = s.segments[g, FIRST_ROW]
    if c < -1:
        return s.popular[-2 - c, i]
    while s.cached[c].instance != i:
        c = s.cached[c].same
    return c


@kernel
def put(s: Sim, i: int, g: int) -> int:
    """A new row for a segment that instance `i` does not hold; -1 when there is none left."""
    totals = s.totals[0]
    c = totals.cache_spare
    if c >= 0:
        totals.cache_spare = s.cached[c].after
    elif totals.cache_rows < len(s.cached):
        c = totals.cache_rows
        totals.cache_rows += 1
    else:
        return -1
    row, first = s.cached[c], s.segments[g, FIRST_ROW]
    if first < -1:
        s.popular[-2 - first, i] = c
    else:
        row.same = first
        s.segments[g, FIRST_ROW] = c
    row.segment = g
    row.instance = i
    row.users = 0
    row.hits = 0
    row.present = 0
    row.value = 0.0
    return c


@kernel
def forget(s: Sim, c: int) -> None:
    """Give a row back."""
    g = s.cached[c].segment
    first = s.segments[g, FIRST_ROW]
    if first == c:
        s.segments[g, FIRST_ROW] = s.cached[c].same
    elif first >= 0:
        while s.cached[first].same != c:
            first = s.cached[first].same
        s.cached[first].same = s.cached[c].same
    s.cached[c].after = s.totals[0].cache_spare
    s.totals[0].cache_spare = c


@kernel
def remember_evicted(s: Sim, i: int, c: int) -> None:
    """Keep what is known of an entry that goes, in place of the one that went longest ago."""
    inst, row = s.instances[i], s.cached[c]
    gone = s.evicted[i, inst.evictions % MAX_ENTRIES]
    gone.segment = row.segment
    gone.hits = row.hits
    gone.since = row.since
    gone.used_at = row.used_at
    gone.session = row.session
    gone.online = row.online
    inst.evictions += 1


@kernel
def unlink(s: Sim, i: int, c: int) -> None:
    """Take a row out of the order of release."""
    row, inst = s.cached[c], s.instances[i]
    if row.before >= 0:
        s.cached[row.before].after = row.after
    else:
        inst.cache_head = row.after
    if row.after >= 0:
        s.cached[row.after].before = row.before
    else:
        inst.cache_tail = row.before


@kernel
def touch_last(s: Sim, i: int, c: int) -> None:
    """Put a row at the end of the order of release."""
    row, inst = s.cached[c], s.instances[i]
    row.after = -1
    row.before = inst.cache_tail
    if inst.cache_tail >= 0:
        s.cached[inst.cache_tail].after = c
    else:
        inst.cache_head = c
    inst.cache_tail = c
