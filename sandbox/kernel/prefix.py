"""Prefix cache of one instance: matching a prompt, using what matches, sharing what was computed.

As in vLLM's automatic prefix caching, a prompt's whole blocks can be shared once it is computed,
and so can an answer's as far as the session's next prompt repeats it; at least one token of a
prompt is computed anew. Without users they stay until space is needed, see evict.py.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.cached import find, put, touch_last, unlink
from sandbox.kernel.evict import make_room, note_release
from sandbox.kernel.jit import kernel
from sandbox.kernel.segments import (
    PART,
    USED,
    WHOLE,
    block_width,
    holds,
    mark,
    segment_blocks,
    segment_depth,
    set_bit,
)
from sandbox.kernel.state import Sim


@kernel
def _whole_segments(s: Sim, i: int, r: int) -> int:
    """Leading segments of a prompt that instance `i` holds entirely."""
    q = s.requests[r]
    n = 0
    while n < q.path_count and holds(s, s.paths[q.path_start + n], i, WHOLE):
        n += 1
    return n


@kernel
def _path_blocks(s: Sim, i: int, r: int, whole: int) -> int:
    """Blocks of `whole` segments and of what is present of the next."""
    q = s.requests[r]
    if whole < q.path_count:
        g = s.paths[q.path_start + whole]
        if not holds(s, g, i, PART):
            return segment_depth(s, g)
        return segment_depth(s, g) + s.cached[i, find(s, i, g)].present
    if whole == 0:
        return 0
    g = s.paths[q.path_start + whole - 1]
    return segment_depth(s, g) + segment_blocks(s, g)


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
    if not _deepest_is_used(s, i, r, whole):
        make_room(s, i, now)
        whole = _whole_segments(s, i, r)
        blocks = _path_blocks(s, i, r, whole)
    return _usable(s, r, blocks)


@kernel
def _deepest_is_used(s: Sim, i: int, r: int, whole: int) -> bool:
    """Has the deepest segment that matches a user?"""
    q = s.requests[r]
    if whole < q.path_count and holds(s, s.paths[q.path_start + whole], i, PART):
        whole += 1
    return holds(s, s.paths[q.path_start + whole - 1], i, USED)


@kernel
def unused_among(s: Sim, i: int, r: int) -> int:
    """Present blocks on the way of `r` that nobody uses: taking them takes free space."""
    q = s.requests[r]
    n = 0
    for k in range(q.path_count):
        g = s.paths[q.path_start + k]
        whole = holds(s, g, i, WHOLE)
        if not whole and not holds(s, g, i, PART):
            break
        if not holds(s, g, i, USED):
            n += s.cached[i, find(s, i, g)].present
        if not whole:
            break
    return n


@kernel
def _use(s: Sim, i: int, c: int) -> None:
    """One more user of a present segment."""
    row, inst = s.cached[i, c], s.instances[i]
    if row.users == 0:
        unlink(s, i, c)
        width = block_width(s)
        inst.blocks_cached -= row.present * width
        inst.blocks_used += row.present * width
        set_bit(s, row.segment, i, USED, True)
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
        whole = holds(s, g, i, WHOLE)
        if not whole and not holds(s, g, i, PART):
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
    mine = segment_depth(s, g) + segment_blocks(s, g) - q.held_blocks
    if row.present == segment_blocks(s, g):
        s.instances[i].blocks_used -= mine * block_width(s)
    else:
        row.present = segment_blocks(s, g)
        mark(s, g, i, row.present)
    q.held_blocks += mine


@kernel
def _share_segment(s: Sim, i: int, r: int, g: int, now: int) -> None:
    """Make a computed segment of `r` shared; what is present of it already is used instead."""
    q = s.requests[r]
    if not holds(s, g, i, WHOLE) and not holds(s, g, i, PART):
        c = put(s, i, g)
        if c < 0:
            return
        row = s.cached[i, c]
        row.users = 1
        set_bit(s, g, i, USED, True)
        row.session = q.session
        row.online = q.online
    else:
        c = find(s, i, g)
        _use(s, i, c)
        s.instances[i].blocks_used -= s.cached[i, c].present * block_width(s)
    s.cached[i, c].since = now
    s.cached[i, c].present = segment_blocks(s, g)
    mark(s, g, i, segment_blocks(s, g))
    q.held_blocks += segment_blocks(s, g)
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
    width = block_width(s)
    for k in range(q.held_segments - 1, -1, -1):
        c = find(s, i, _segment_of(s, r, k))
        row = s.cached[i, c]
        row.users -= 1
        if row.users == 0:
            set_bit(s, row.segment, i, USED, False)
            touch_last(s, i, c)
            note_release(s, i, c, now)
            inst.blocks_cached += row.present * width
            inst.blocks_used -= row.present * width
    q.held_blocks = 0
    q.held_segments = 0
