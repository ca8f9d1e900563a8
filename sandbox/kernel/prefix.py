"""Prefix cache of one instance: segments of prompts, with users, an eviction order and a capacity.

A segment (see `sandbox.prefixes`) is present as a number of its first blocks. Segments without
users stay until space is needed, then go block by block from their ends: the least recently
released first, or the least valued where the policy has `evict`. That is vLLM's automatic prefix
caching, whose free queue also takes the deepest block of a released request first.
`segment_whole` and `segment_part` have a bit per instance, so that a router finds the best match
among many instances without looking into their tables.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.cached import find, forget, put, touch_last, unlink
from sandbox.kernel.evict import least_valued, note_release
from sandbox.kernel.jit import kernel
from sandbox.kernel.runs import blocks_at
from sandbox.kernel.state import BLOCK_TOKENS, Sim


@kernel
def _width(s: Sim) -> int:
    """KV blocks in one block of the trace."""
    return s.settings[0].block_tokens // BLOCK_TOKENS


@kernel
def _has(s: Sim, masks: int, g: int, i: int) -> bool:
    words = s.segment_part if masks else s.segment_whole
    return (words[g, i >> 6] >> (i & 63)) & 1 == 1


@kernel
def _mark(s: Sim, g: int, i: int, present: int) -> None:
    """Set the two bits of an instance by how much of a segment it holds."""
    bit = 1 << (i & 63)
    word = i >> 6
    s.segment_whole[g, word] &= ~bit
    s.segment_part[g, word] &= ~bit
    if present == s.segments[g].blocks:
        s.segment_whole[g, word] |= bit
    elif present > 0:
        s.segment_part[g, word] |= bit


@kernel
def _whole_segments(s: Sim, i: int, r: int) -> int:
    """Leading segments of a prompt that instance `i` holds entirely."""
    q = s.requests[r]
    word, shift = i >> 6, i & 63
    n = 0
    while n < q.path_count:
        if (s.segment_whole[s.paths[q.path_start + n], word] >> shift) & 1 == 0:
            break
        n += 1
    return n


@kernel
def _path_blocks(s: Sim, i: int, r: int, whole: int) -> int:
    """Blocks of `whole` segments and of what is present of the next."""
    q = s.requests[r]
    if whole < q.path_count:
        g = s.paths[q.path_start + whole]
        depth = s.segments[g].depth
        if (s.segment_part[g, i >> 6] >> (i & 63)) & 1 == 0:
            return depth
        return depth + s.cached[i, find(s, i, g)].present
    if whole == 0:
        return 0
    g = s.paths[q.path_start + whole - 1]
    return s.segments[g].depth + s.segments[g].blocks


@kernel
def _usable(s: Sim, r: int, blocks: int) -> int:
    """Of present blocks those that save work; at least one token stays to compute."""
    q = s.requests[r]
    return min(blocks, (q.prompt + q.done - 1) // s.settings[0].block_tokens)


@kernel
def matching_blocks(s: Sim, i: int, r: int) -> int:
    """Leading blocks of `r` that instance `i` holds now and that save work."""
    whole = _whole_segments(s, i, r)
    return _usable(s, r, _path_blocks(s, i, r, whole))


@kernel
def matching_at(s: Sim, i: int, r: int, now: int) -> int:
    """The same as seen at `now`: what the present run has evicted by then does not match.

    Only segments without users can have been evicted, and when the deepest match has a user, so
    do those before it.
    """
    whole = _whole_segments(s, i, r)
    blocks = _path_blocks(s, i, r, whole)
    if blocks == 0:
        return 0
    if _last_users(s, i, r, whole, blocks) == 0:
        make_room(s, i, now)
        whole = _whole_segments(s, i, r)
        blocks = _path_blocks(s, i, r, whole)
    return _usable(s, r, blocks)


@kernel
def _last_users(s: Sim, i: int, r: int, whole: int, blocks: int) -> int:
    """Users of the deepest segment that matches."""
    q = s.requests[r]
    deepest = whole - 1
    if whole < q.path_count and blocks > s.segments[s.paths[q.path_start + whole]].depth:
        deepest = whole
    return s.cached[i, find(s, i, s.paths[q.path_start + deepest])].users


@kernel
def unused_among(s: Sim, i: int, r: int) -> int:
    """Present blocks on the way of `r` that nobody uses: taking them takes free space."""
    q = s.requests[r]
    n = 0
    for k in range(q.path_count):
        g = s.paths[q.path_start + k]
        whole = _has(s, 0, g, i)
        if not whole and not _has(s, 1, g, i):
            break
        row = s.cached[i, find(s, i, g)]
        if row.users == 0:
            n += row.present
        if not whole:
            break
    return n


@kernel
def _use(s: Sim, i: int, c: int) -> None:
    """One more user of a present segment."""
    row, inst = s.cached[i, c], s.instances[i]
    if row.users == 0:
        unlink(s, i, c)
        width = _width(s)
        inst.blocks_cached -= row.present * width
        inst.blocks_used += row.present * width
    row.users += 1
    row.hits += 1


@kernel
def take_blocks(s: Sim, i: int, r: int) -> int:
    """Use what is present of the prompt of `r`; how many blocks that save work."""
    q = s.requests[r]
    q.held_segments = 0
    q.held_blocks = 0
    while q.held_segments < q.path_count:
        g = s.paths[q.path_start + q.held_segments]
        whole = _has(s, 0, g, i)
        if not whole and not _has(s, 1, g, i):
            break
        c = find(s, i, g)
        _use(s, i, c)
        q.held_blocks += s.cached[i, c].present
        q.held_segments += 1
        if not whole:
            break
    return _usable(s, r, q.held_blocks)


@kernel
def _share_rest(s: Sim, i: int, r: int, g: int) -> None:
    """Complete the last used segment with blocks of `r`, or give them up if another has."""
    q = s.requests[r]
    row = s.cached[i, find(s, i, g)]
    mine = s.segments[g].depth + s.segments[g].blocks - q.held_blocks
    if row.present == s.segments[g].blocks:
        s.instances[i].blocks_used -= mine * _width(s)
    else:
        row.present = s.segments[g].blocks
        _mark(s, g, i, row.present)
    q.held_blocks += mine


@kernel
def _share_segment(s: Sim, i: int, r: int, g: int, now: int) -> None:
    """Make a computed segment of `r` shared; what is present of it already is used instead."""
    q = s.requests[r]
    c = find(s, i, g)
    if c < 0:
        c = put(s, i, g)
        if c < 0:
            return
        row = s.cached[i, c]
        row.users = 1
        row.session = q.session
        row.online = q.online
    else:
        _use(s, i, c)
        s.instances[i].blocks_used -= s.cached[i, c].present * _width(s)
    s.cached[i, c].since = now
    s.cached[i, c].present = s.segments[g].blocks
    _mark(s, g, i, s.segments[g].blocks)
    q.held_blocks += s.segments[g].blocks
    q.held_segments += 1


@kernel
def _share_path(s: Sim, i: int, r: int, start: int, first: int, count: int, now: int) -> None:
    for k in range(first, count):
        before = s.requests[r].held_segments
        _share_segment(s, i, r, s.paths[start + k], now)
        if s.requests[r].held_segments == before:
            return


@kernel
def publish_blocks(s: Sim, i: int, r: int, now: int) -> None:
    """The prompt is computed: its whole blocks can be shared from now on."""
    q = s.requests[r]
    if q.held_segments > 0:
        _share_rest(s, i, r, s.paths[q.path_start + q.held_segments - 1])
    _share_path(s, i, r, q.path_start, q.held_segments, q.path_count, now)


@kernel
def publish_answer(s: Sim, i: int, r: int, now: int) -> None:
    """The answer is out: the blocks that the session's next prompt repeats can be shared."""
    q = s.requests[r]
    if q.answer_count > 0 and q.held_segments == q.path_count:
        _share_path(s, i, r, q.answer_start, 0, q.answer_count, now)


@kernel
def _segment_of(s: Sim, r: int, k: int) -> int:
    """Segment `k` of prompt and answer."""
    q = s.requests[r]
    if k < q.path_count:
        return s.paths[q.path_start + k]
    return s.paths[q.answer_start + k - q.path_count]


@kernel
def release_blocks(s: Sim, i: int, r: int, now: int) -> None:
    """Stop using segments; those without users become evictable, the first ones last."""
    q, inst = s.requests[r], s.instances[i]
    width = _width(s)
    for k in range(q.held_segments - 1, -1, -1):
        c = find(s, i, _segment_of(s, r, k))
        row = s.cached[i, c]
        row.users -= 1
        if row.users == 0:
            touch_last(s, i, c)
            note_release(s, i, c, now)
            inst.blocks_cached += row.present * width
            inst.blocks_used -= row.present * width
    q.held_blocks = 0
    q.held_segments = 0


@kernel
def make_room(s: Sim, i: int, now: int) -> None:
    """Evict unused blocks until what is in use at `now` and what is cached fit the instance.

    Eviction follows from use alone, so doing it when somebody looks equals doing it step by step.
    """
    inst = s.instances[i]
    if inst.cache_head < 0:
        return
    width = _width(s)
    over = blocks_at(s, i, now) + inst.blocks_cached - inst.blocks_total
    while over > 0 and inst.cache_head >= 0:
        c = inst.cache_head
        if s.settings[0].has_evict:
            c = least_valued(s, i)
        row = s.cached[i, c]
        gone = min((over + width - 1) // width, row.present)
        row.present -= gone
        inst.blocks_cached -= gone * width
        over -= gone * width
        _mark(s, row.segment, i, row.present)
        if row.present == 0:
            unlink(s, i, c)
            forget(s, i, c)


@kernel
def clear_cache(s: Sim, i: int) -> None:
    """Forget everything, for an engine that is gone."""
    inst = s.instances[i]
    while inst.cache_head >= 0:
        c = inst.cache_head
        _mark(s, s.cached[i, c].segment, i, 0)
        unlink(s, i, c)
        forget(s, i, c)
    inst.blocks_cached = 0
