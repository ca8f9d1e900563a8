"""Eviction from a prefix cache: least recently released first, or as the policy values entries.

Entries go block by block from their ends; vLLM's free queue, too, takes the deepest block of a
released request first. Where the policy has `evict`, an entry is valued when its last user leaves
it, and all of them anew on the control tick, oldest release first and at most MAX_ENTRIES of an
instance; the lowest value goes first, then the oldest.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.abi import FAILED
from sandbox.contract import MAX_ENTRIES
from sandbox.kernel.cached import forget, remember_evicted, unlink
from sandbox.kernel.calls import EVICT, ask_engine
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.runs import blocks_at
from sandbox.kernel.segments import block_width, mark, segment_depth
from sandbox.kernel.state import ACTIVE, LEAVING, Sim
from sandbox.kernel.views import fill_instance, seconds
from sandbox.summary_window import Record

HORIZON_S = 60.0  # of `Entry.probability`
TICK_S = 1e-3  # uses closer together are as if so far apart


@kernel
def _queued_users(s: Sim, i: int, g: int) -> int:
    """Waiting requests of an instance whose prompt passes a segment."""
    n = 0
    r = s.instances[i].wait_head
    while r >= 0:
        q = s.requests[r]
        for k in range(q.path_count):
            if s.paths[q.path_start + k] == g:
                n += 1
                break
        r = q.list_next
    return n


@kernel
def show_entry(s: Sim, i: int, row: Record, v: Record, blocks: int, now: int) -> None:
    """A CACHED or EVICTED row of so many blocks as the contract's Entry.

    When it is asked for next is guessed from its past uses, as if they came at a constant rate.
    """
    v.tokens = blocks * s.settings[0].block_tokens
    v.age_s = seconds(now - row.used_at)
    v.hits = row.hits
    v.users = _queued_users(s, i, row.segment)
    v.session = row.session
    v.online = row.online
    v.depth_tokens = segment_depth(s, row.segment) * s.settings[0].block_tokens
    v.load_s = v.tokens / s.shapes[s.instances[i].shape].prefill_rate
    v.probability = np.nan
    v.in_s = np.nan
    if row.hits > 0:
        gap_s = seconds(row.used_at - row.since) / row.hits
        v.in_s = max(gap_s - v.age_s, 0.0)
        v.probability = 1.0 - np.exp(-HORIZON_S / max(gap_s, TICK_S))
    v.wanted = False


@kernel
def _value(s: Sim, i: int, c: int, now: int) -> None:
    show_entry(s, i, s.cached[c], s.entry_row[0], s.cached[c].present, now)
    failed = ask_engine(s, EVICT, i) == FAILED
    value = s.frame[0].value
    s.cached[c].value = 0.0 if failed or np.isnan(value) else value


@entry
def value_entry(s: Sim, i: int, c: int, now: int) -> int:
    """Ask what one released entry is worth."""
    fill_instance(s, i, len(s.router_rows) - 1, 0, now)
    _value(s, i, c, now)
    return 0


@kernel
def note_release(s: Sim, i: int, c: int, now: int) -> None:
    """The last user left an entry."""
    s.cached[c].used_at = now
    if s.settings[0].has_evict:
        value_entry(s, i, c, now)


@kernel
def least_valued(s: Sim, i: int) -> int:
    """Row to evict next."""
    c = s.instances[i].cache_head
    best = c
    while c >= 0:
        if s.cached[c].value < s.cached[best].value:
            best = c
        c = s.cached[c].after
    return best


@kernel
def make_room(s: Sim, i: int, now: int) -> None:
    """Evict unused blocks until what is in use at `now` and what is cached fit the instance.

    Eviction follows from use alone, so doing it when somebody looks equals doing it step by step.
    """
    inst = s.instances[i]
    if inst.cache_head < 0:
        return
    width = block_width(s)
    over = blocks_at(s, i, now) + inst.blocks_cached - inst.blocks_total
    while over > 0 and inst.cache_head >= 0:
        c = inst.cache_head
        if s.settings[0].has_evict:
            c = least_valued(s, i)
        row = s.cached[c]
        gone = min((over + width - 1) // width, row.present)
        row.present -= gone
        inst.blocks_cached -= gone * width
        over -= gone * width
        mark(s, row.segment, i, row.present)
        if row.present == 0:
            unlink(s, i, c)
            if s.settings[0].has_prewarm:
                remember_evicted(s, i, c)
            forget(s, c)


@kernel
def clear_cache(s: Sim, i: int) -> None:
    """Forget everything, for an engine that is gone."""
    inst = s.instances[i]
    while inst.cache_head >= 0:
        c = inst.cache_head
        mark(s, s.cached[c].segment, i, 0)
        unlink(s, i, c)
        forget(s, c)
    inst.blocks_cached = 0


@entry
def value_all(s: Sim, now: int) -> int:
    """The control tick: what is unused is valued anew."""
    for i in range(len(s.instances)):
        inst = s.instances[i]
        if inst.state != ACTIVE and inst.state != LEAVING:
            continue
        make_room(s, i, now)
        fill_instance(s, i, len(s.router_rows) - 1, 0, now)
        c = inst.cache_head
        for _ in range(MAX_ENTRIES):
            if c < 0:
                break
            _value(s, i, c, now)
            c = s.cached[c].after
    return 0
