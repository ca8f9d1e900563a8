"""Bringing prefixes in early: on the control tick the policy may have evicted ones computed anew.

An engine remembers what its cache evicted last, and offers of it what is not there again and whose
own beginning is. What is brought in is computed by itself: an idle engine is busy with it from now
on, one that computes adds it to its next step. It is an unused entry then, the one released last
together with the entries it goes on from, and evicts others when there is no room. There is no
tier in host memory to load it from.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.abi import FAILED
from sandbox.contract import MAX_ENTRIES
from sandbox.kernel.cached import find, put, touch_last, unlink
from sandbox.kernel.calls import PREWARM, ask_engine
from sandbox.kernel.evict import make_room, show_entry, value_entry
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.runs import blocks_at
from sandbox.kernel.segments import PART, USED, WHOLE, block_width, holds, mark, segment_blocks
from sandbox.kernel.state import ACTIVE, IDLE, PS_PER_S, Sim
from sandbox.kernel.views import fill_instance


@kernel
def _may_come(s: Sim, i: int, g: int) -> bool:
    """Is nothing of a segment here, and all that comes before it?"""
    if holds(s, g, i, WHOLE) or holds(s, g, i, PART):
        return False
    above = s.above[g]
    while above >= 0 and holds(s, above, i, WHOLE):
        above = s.above[above]
    return above < 0


@kernel
def _is_offered(s: Sim, i: int, g: int, n: int) -> bool:
    for k in range(n):
        if s.evicted[i, s.offered[k]].segment == g:
            return True
    return False


@kernel
def _offer(s: Sim, i: int, now: int) -> int:
    """What may come, evicted last first, as contract entries; how many."""
    evictions, n = s.instances[i].evictions, 0
    for k in range(min(evictions, MAX_ENTRIES)):
        place = (evictions - 1 - k) % MAX_ENTRIES
        gone = s.evicted[i, place]
        if _may_come(s, i, gone.segment) and not _is_offered(s, i, gone.segment, n):
            s.offered[n] = place
            show_entry(s, i, gone, s.entries[n], segment_blocks(s, gone.segment), now)
            n += 1
    return n


@kernel
def _keep_beginning(s: Sim, i: int, g: int) -> None:
    """What a segment goes on from is evicted after it."""
    above = s.above[g]
    while above >= 0:
        if not holds(s, above, i, USED):
            c = find(s, i, above)
            unlink(s, i, c)
            touch_last(s, i, c)
        above = s.above[above]


@kernel
def _is_forgotten(s: Sim, i: int, place: int, before: int) -> bool:
    """Has what was evicted since there were `before` evictions taken a place among them?"""
    back = (before - 1 - place) % MAX_ENTRIES
    return s.instances[i].evictions - (before - 1 - back) > MAX_ENTRIES


@kernel
def _bring_in(s: Sim, i: int, place: int, now: int) -> int:
    """Compute one evicted segment anew; its tokens, 0 when it does not fit."""
    inst, gone = s.instances[i], s.evicted[i, place]
    g, width = gone.segment, block_width(s)
    blocks = segment_blocks(s, g)
    if not _may_come(s, i, g) or blocks * width > inst.blocks_total - blocks_at(s, i, now):
        return 0
    c = put(s, i, g)
    if c < 0:
        return 0
    row = s.cached[c]
    row.hits = gone.hits
    row.since = gone.since
    row.used_at = gone.used_at
    row.session = gone.session
    row.online = gone.online
    row.present = blocks
    mark(s, g, i, blocks)
    touch_last(s, i, c)
    inst.blocks_cached += blocks * width
    inst.denied = -1
    _keep_beginning(s, i, g)
    if s.settings[0].has_evict:
        value_entry(s, i, c, now)
    make_room(s, i, now)
    return blocks * s.settings[0].block_tokens


@kernel
def _spend(s: Sim, i: int, tokens: int, now: int) -> None:
    """The engine computes so many prompt tokens, beginning now or with its next step."""
    inst = s.instances[i]
    took = int(tokens / s.shapes[inst.shape].prefill_rate * PS_PER_S)
    if inst.mode == IDLE:
        inst.warm_until = max(inst.warm_until, now) + took
    else:
        inst.hooks += took
    s.totals[0].prewarmed_tokens += tokens


@entry
def prewarm_tick(s: Sim, now: int) -> int:
    """Ask for every engine that serves and has something to offer."""
    for i in range(len(s.instances)):
        if s.instances[i].state != ACTIVE or s.instances[i].stuck:
            continue
        make_room(s, i, now)
        n = _offer(s, i, now)
        if n == 0:
            continue
        fill_instance(s, i, len(s.router_rows) - 1, 0, now)
        s.frame[0].n_entries = n
        if ask_engine(s, PREWARM, i) == FAILED:
            continue
        tokens, before = 0, s.instances[i].evictions
        for k in range(n):
            if s.entries[k].wanted and not _is_forgotten(s, i, s.offered[k], before):
                tokens += _bring_in(s, i, s.offered[k], now)
        _spend(s, i, tokens, now)
    return 0
