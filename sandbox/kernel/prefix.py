"""Prefix cache of one instance: matching a prompt, using what matches, sharing what was computed.

As in vLLM's automatic prefix caching, a prompt's whole blocks can be shared once they are computed,
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
from sandbox.kernel.state import BLOCK_TOKENS, Sim

LOOK = -1


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
        return segment_depth(s, g) + s.cached[find(s, i, g)].present
    if whole == 0:
        return 0
    g = s.paths[q.path_start + whole - 1]
    return segment_depth(s, g) + segment_blocks(s, g)


@kernel
def _usable(s: Sim, r: int, blocks: int) -> int:
    """Tokens that present blocks save, in whole KV blocks; at least one stays to compute."""
    q = s.requests[r]
    most = (q.prompt + q.done - 1) // BLOCK_TOKENS * BLOCK_TOKENS
    return min(min(blocks, q.prompt_blocks) * s.settings[0].block_tokens, most)


@kernel
def matching_tokens(s: Sim, i: int, r: int) -> int:
    """Leading tokens of `r` that instance `i` holds now and need not compute."""
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
            n += s.cached[find(s, i, g)].present
        if not whole:
            break
    return n


@kernel
def _note_match(s: Sim, w: int, which: int, sure: int, tokens: int) -> None:
    """Write down a match for some of the 64 instances of a word."""
    for i in range(w << 6, min((w + 1) << 6, len(s.instances))):
        if (which >> (i & 63)) & 1 == 1:
            s.matched[i] = tokens if (sure >> (i & 63)) & 1 == 1 else LOOK


@kernel
def _match_word(s: Sim, r: int, w: int) -> None:
    """Follow a prompt's path on 64 instances at once, by their bits."""
    q = s.requests[r]
    column, alive, sure = 3 * w, -1, -1
    for k in range(q.path_count):
        g = s.paths[q.path_start + k]
        whole = s.segments[g, column + WHOLE]
        if alive & ~whole != 0:
            there = _usable(s, r, segment_depth(s, g))
            _note_match(s, w, alive & ~whole, sure & ~s.segments[g, column + PART], there)
        alive &= whole
        if alive == 0:
            return
        sure = s.segments[g, column + USED]
    _note_match(s, w, alive, sure, _usable(s, r, q.prompt_blocks))


@kernel
def match_all(s: Sim, r: int) -> None:
    """Tokens of a prompt that each instance holds, into `matched`.

    LOOK stands where only `matching_at` can tell: where the deepest match is in part, or has no
    user and may have been evicted by now.
    """
    for w in range((len(s.instances) + 63) >> 6):
        _match_word(s, r, w)


@kernel
def needed_blocks(s: Sim, i: int, r: int) -> int:
    """Free KV blocks that all of a request's tokens need beside shared ones in use.

    Blocks that match without a user take free space as new ones do, so evicting them changes
    nothing here.
    """
    q = s.requests[r]
    used = 0
    for k in range(q.path_count):
        g = s.paths[q.path_start + k]
        if not holds(s, g, i, USED):
            break
        used = segment_depth(s, g) + segment_blocks(s, g)
        if not holds(s, g, i, WHOLE):
            used = segment_depth(s, g) + s.cached[find(s, i, g)].present
            break
    total = (q.target + BLOCK_TOKENS - 1) // BLOCK_TOKENS
    return total - min(used, q.prompt_blocks) * block_width(s)


@kernel
def _trim(s: Sim, i: int, r: int, c: int, spare: int) -> None:
    """Of an unused segment that goes on beyond the prompt, keep what fits the spare KV blocks."""
    row, inst, width = s.cached[c], s.instances[i], block_width(s)
    beyond = segment_depth(s, row.segment) + row.present - s.requests[r].prompt_blocks
    gone = min(beyond, (beyond * width - spare + width - 1) // width)
    if row.users == 0 and gone > 0:
        row.present -= gone
        inst.blocks_cached -= gone * width
        mark(s, row.segment, i, row.present)


@kernel
def _use(s: Sim, i: int, c: int) -> None:
    """One more user of a present segment."""
    row, inst = s.cached[c], s.instances[i]
    inst.denied = -1  # whom there was no room for may share it, too
    if row.users == 0:
        unlink(s, i, c)
        width = block_width(s)
        inst.blocks_cached -= row.present * width
        inst.blocks_used += row.present * width
        set_bit(s, row.segment, i, USED, True)
    row.users += 1
    row.hits += 1


@kernel
def take_blocks(s: Sim, i: int, r: int, spare: int) -> int:
    """Use what is present of the prompt of `r`; how many tokens that saves.

    `spare` KV blocks are free beside those that the request itself needs.
    """
    q = s.requests[r]
    q.held_segments = 0
    q.held_blocks = 0
    while q.held_segments < q.path_count:
        g = s.paths[q.path_start + q.held_segments]
        whole = holds(s, g, i, WHOLE)
        if not whole and not holds(s, g, i, PART):
            break
        c = find(s, i, g)
        _trim(s, i, r, c, spare)
        _use(s, i, c)
        q.held_blocks = min(segment_depth(s, g) + s.cached[c].present, q.prompt_blocks)
        q.held_segments += 1
        if not whole:
            break
    return _usable(s, r, q.held_blocks)


@kernel
def _segment_of(s: Sim, r: int, k: int) -> int:
    """Segment `k` of prompt and answer."""
    q = s.requests[r]
    if k < q.path_count:
        return s.paths[q.path_start + k]
    return s.paths[q.answer_start + k - q.path_count]


@kernel
def _share(s: Sim, i: int, r: int, c: int, blocks: int) -> None:
    """Share leading `blocks` of a used segment: private ones become its own, or are given up."""
    q, row = s.requests[r], s.cached[c]
    s.instances[i].denied = -1
    before = q.held_blocks - segment_depth(s, row.segment)
    there = min(row.present, blocks)
    s.instances[i].blocks_used -= max(there - before, 0) * block_width(s)
    if blocks > row.present:
        row.present = blocks
        mark(s, row.segment, i, blocks)
    q.held_blocks += blocks - before


@kernel
def _use_or_put(s: Sim, i: int, r: int, g: int, now: int) -> int:
    """The row of a segment that `r` uses from now on, -1 when there is no place for one."""
    if holds(s, g, i, WHOLE) or holds(s, g, i, PART):
        c = find(s, i, g)
        _use(s, i, c)
        return c
    c = put(s, i, g)
    if c >= 0:
        row, q = s.cached[c], s.requests[r]
        row.users = 1
        row.since = now
        row.session = q.session
        row.online = q.online
        set_bit(s, g, i, USED, True)
    return c


@kernel
def _share_up_to(s: Sim, i: int, r: int, blocks: int, segments: int, now: int) -> None:
    """Share the first `blocks` of a request, within the first `segments` of its path."""
    q = s.requests[r]
    if q.held_segments > 0:
        g = _segment_of(s, r, q.held_segments - 1)
        reach = min(blocks - segment_depth(s, g), segment_blocks(s, g))
        if reach > q.held_blocks - segment_depth(s, g):
            _share(s, i, r, find(s, i, g), reach)
    while q.held_segments < segments:
        g = _segment_of(s, r, q.held_segments)
        reach = min(blocks - segment_depth(s, g), segment_blocks(s, g))
        if reach <= 0:
            return
        c = _use_or_put(s, i, r, g, now)
        if c < 0:
            return
        q.held_segments += 1
        _share(s, i, r, c, reach)


@kernel
def publish_prompt(s: Sim, i: int, r: int, now: int) -> None:
    """A chunk is computed: the prompt's whole blocks up to it can be shared from now on."""
    q = s.requests[r]
    blocks = min(q.computed // s.settings[0].block_tokens, q.prompt_blocks)
    _share_up_to(s, i, r, blocks, q.path_count, now)


@kernel
def publish_answer(s: Sim, i: int, r: int, now: int) -> None:
    """The answer is out: the blocks that the session's next prompt repeats can be shared."""
    q = s.requests[r]
    blocks = min((q.prompt + q.done - 1) // s.settings[0].block_tokens, q.answer_blocks)
    _share_up_to(s, i, r, blocks, q.path_count + q.answer_count, now)


@kernel
def release_blocks(s: Sim, i: int, r: int, now: int) -> None:
    """Stop using segments; those without users become evictable, the first ones last."""
    q, inst = s.requests[r], s.instances[i]
    width = block_width(s)
    for k in range(q.held_segments - 1, -1, -1):
        c = find(s, i, _segment_of(s, r, k))
        row = s.cached[c]
        row.users -= 1
        if row.users == 0:
            set_bit(s, row.segment, i, USED, False)
            touch_last(s, i, c)
            note_release(s, i, c, now)
            inst.blocks_cached += row.present * width
            inst.blocks_used -= row.present * width
    q.held_blocks = 0
    q.held_segments = 0
