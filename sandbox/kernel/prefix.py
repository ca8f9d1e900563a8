"""Prefix cache of one instance: shared KV blocks with reference counts and an LRU of unused ones.

A block of the trace spans `block_tokens` tokens, that is `width` KV blocks. `block_refs` is 0 for
absent, 1 for cached but unused (evictable, in the LRU list), else one more than its users.
As in vLLM's automatic prefix caching, unused blocks keep their content until space is needed, and
the deepest block of a chain goes first.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.jit import kernel
from sandbox.kernel.runs import blocks_at
from sandbox.kernel.state import BLOCK_TOKENS, Sim


@kernel
def _unlink(s: Sim, i: int, b: int) -> None:
    before, after = s.block_prev[i, b], s.block_next[i, b]
    if before >= 0:
        s.block_next[i, before] = after
    else:
        s.instances[i].cache_head = after
    if after >= 0:
        s.block_prev[i, after] = before
    else:
        s.instances[i].cache_tail = before


@kernel
def _append(s: Sim, i: int, b: int) -> None:
    inst = s.instances[i]
    s.block_next[i, b] = -1
    s.block_prev[i, b] = inst.cache_tail
    if inst.cache_tail >= 0:
        s.block_next[i, inst.cache_tail] = b
    else:
        inst.cache_head = b
    inst.cache_tail = b


@kernel
def matching_blocks(s: Sim, i: int, r: int) -> int:
    """Leading blocks of `r` that instance `i` holds; at least one token stays to compute."""
    q = s.requests[r]
    limit = min(q.block_count, (q.prompt + q.done - 1) // s.settings[0].block_tokens)
    n = 0
    while n < limit and s.block_refs[i, s.block_ids[q.block_start + n]] > 0:
        n += 1
    return n


@kernel
def unused_among(s: Sim, i: int, r: int, count: int) -> int:
    """How many of the first `count` blocks of `r` are cached but unused."""
    q = s.requests[r]
    n = 0
    for k in range(count):
        if s.block_refs[i, s.block_ids[q.block_start + k]] == 1:
            n += 1
    return n


@kernel
def _take(s: Sim, i: int, b: int) -> None:
    if s.block_refs[i, b] == 1:
        width = s.settings[0].block_tokens // BLOCK_TOKENS
        _unlink(s, i, b)
        s.instances[i].blocks_cached -= width
        s.instances[i].blocks_used += width
    s.block_refs[i, b] += 1


@kernel
def take_blocks(s: Sim, i: int, r: int, count: int) -> None:
    """Reference the first `count` blocks of `r`, which are present."""
    q = s.requests[r]
    for k in range(count):
        _take(s, i, s.block_ids[q.block_start + k])
    q.held_blocks = count


@kernel
def publish_blocks(s: Sim, i: int, r: int) -> None:
    """After prefill: share the prompt's full blocks; a copy that another made first is kept."""
    q = s.requests[r]
    width = s.settings[0].block_tokens // BLOCK_TOKENS
    full = min(q.block_count, q.prompt // s.settings[0].block_tokens)
    for k in range(q.held_blocks, full):
        b = s.block_ids[q.block_start + k]
        if s.block_refs[i, b] == 0:
            s.block_refs[i, b] = 2
        else:
            _take(s, i, b)
            s.instances[i].blocks_used -= width
    q.held_blocks = max(q.held_blocks, full)


@kernel
def release_blocks(s: Sim, i: int, r: int) -> None:
    """Drop the references of `r`; blocks nobody uses become evictable, the first ones last."""
    q = s.requests[r]
    width = s.settings[0].block_tokens // BLOCK_TOKENS
    for k in range(q.held_blocks - 1, -1, -1):
        b = s.block_ids[q.block_start + k]
        s.block_refs[i, b] -= 1
        if s.block_refs[i, b] == 1:
            _append(s, i, b)
            s.instances[i].blocks_cached += width
            s.instances[i].blocks_used -= width
    q.held_blocks = 0


@kernel
def make_room(s: Sim, i: int, now: int) -> None:
    """Evict unused blocks until what is in use at `now` and what is cached fit the instance.

    Eviction follows from use alone, so doing it when somebody looks equals doing it step by step.
    """
    inst = s.instances[i]
    if inst.cache_head < 0:
        return
    width = s.settings[0].block_tokens // BLOCK_TOKENS
    used = blocks_at(s, i, now)
    while used + inst.blocks_cached > inst.blocks_total and inst.cache_head >= 0:
        b = inst.cache_head
        _unlink(s, i, b)
        s.block_refs[i, b] = 0
        inst.blocks_cached -= width


@kernel
def clear_cache(s: Sim, i: int) -> None:
    """Forget everything, for an engine that is gone."""
    inst = s.instances[i]
    while inst.cache_head >= 0:
        b = inst.cache_head
        _unlink(s, i, b)
        s.block_refs[i, b] = 0
    inst.blocks_cached = 0
