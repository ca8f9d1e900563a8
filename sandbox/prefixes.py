"""A trace's prompts as paths in a tree of shared prefixes, the unit that the prefix cache keeps.

A segment is a longest run of blocks in which prompts do not part, so each is a few segments instead
of hundreds of blocks, the last of them perhaps in part: a session of many turns is its system
prompt and one segment more. Matching, sharing and releasing a prompt cost what its branching does
and not what its length is. Built once for a trace;
which requests have come is the simulator's business, so nothing of the future leaks.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox import contract
from sandbox.kernel import state
from sandbox.records import new_rows
from telemetry.blocks import Blocks, Ints, first_seen_codes, offsets_of, roots
from telemetry.trace import Trace

Int32s = NDArray[np.int32]
_NONE = -1
POPULAR = 16  # requests that pass a segment; fewer keep the chain of its rows short


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Segments, and every request's path through them.

    Attributes:
        blocks, depth: (segments,) blocks of a segment, and blocks before it.
        above: (segments,) the segment it goes on from, -1 for none.
        paths: segments of all prompts, one after another.
        start, count: (requests,) a prompt's part of `paths`; prompt_blocks: its whole blocks.
        answer_start, answer_count: (requests,) segments that the answer goes on into, as far as
            the session's next prompt repeats it; answer_blocks: whole blocks of prompt and answer
            then, 0 when nothing repeats them.
    """

    blocks: Int32s
    depth: Int32s
    above: Int32s
    paths: Int32s
    start: Ints
    count: Int32s
    prompt_blocks: Ints
    answer_start: Ints
    answer_count: Int32s
    answer_blocks: Ints


@functools.lru_cache(maxsize=8)
def prefixes_of(trace: Trace) -> Prefixes:
    """Segments of a trace with prefix blocks; `trace.block_tokens` is above 0.

    Kept for the traces that were asked about last: a search replays few traces many times.
    """
    whole = np.minimum(np.diff(trace.block_offsets), trace.prompt_tokens // trace.block_tokens)
    lists = _in_one_tree(_cut(trace.blocks, whole))
    follower = _followers(trace, lists)
    reach = _answered(trace, lists, follower)
    starts, segment = _segments(lists)
    at = np.flatnonzero(starts[lists.ids])
    paths = segment[lists.ids[at]]
    before = np.searchsorted(at, lists.offsets)
    start, count = before[:-1], np.diff(before).astype(np.int32)
    blocks = np.bincount(segment).astype(np.int32)
    depth = np.zeros(len(blocks), np.int32)
    depth[paths] = at - np.repeat(lists.offsets[:-1], count)
    above = _above(paths, start[count > 0], len(blocks))
    answer_start, answer_count = np.zeros(len(trace), np.int64), np.zeros(len(trace), np.int32)
    goes_on = np.flatnonzero(reach > 0)
    other = lists.offsets[follower[goes_on]]
    answer_start[goes_on] = np.searchsorted(at, other + whole[goes_on])
    answer_count[goes_on] = np.searchsorted(at, other + reach[goes_on]) - answer_start[goes_on]
    return Prefixes(
        blocks, depth, above, paths, start, count, whole, answer_start, answer_count, reach
    )


def _above(paths: Int32s, starts: Ints, segments: int) -> Int32s:
    """What stands before each segment on the paths that pass it, the same on all of them."""
    above = np.full(segments, _NONE, np.int32)
    inner = np.ones(len(paths), np.bool_)
    inner[starts] = False
    later = np.flatnonzero(inner)
    above[paths[later]] = paths[later - 1]
    return above


def no_prefixes(requests: int) -> Prefixes:
    """Prompts that share nothing."""
    none, nowhere = np.zeros(requests, np.int32), np.zeros(requests, np.int64)
    one = np.zeros(1, np.int32)
    return Prefixes(one, one, one - 1, one, nowhere, none, nowhere, nowhere, none, nowhere)


def fill_paths(rows: state.Rows, prefixes: Prefixes) -> None:
    """Every request's path, into REQUEST rows."""
    rows["path_start"], rows["path_count"] = prefixes.start, prefixes.count
    rows["answer_start"], rows["answer_count"] = prefixes.answer_start, prefixes.answer_count
    rows["prompt_blocks"], rows["answer_blocks"] = prefixes.prompt_blocks, prefixes.answer_blocks


def cache_rows(prefixes: Prefixes, engines: int, most_blocks: int) -> dict[str, Any]:
    """Empty caches of that many engines with `most_blocks` blocks in all, by their names in Sim.

    A row holds at least one block, so there are never more rows than blocks; pages of the table
    that nothing touches cost no memory.
    """
    rows = np.zeros((len(prefixes.blocks), 2 + 3 * ((engines + 63) // 64)), np.int64)
    rows[:, 0] = prefixes.depth.astype(np.int64) << 32 | prefixes.blocks
    passed = np.bincount(prefixes.paths, minlength=len(rows))
    popular = np.flatnonzero(passed >= POPULAR)
    rows[:, state.FIRST_ROW] = -1
    rows[popular, state.FIRST_ROW] = -2 - np.arange(len(popular))
    return {
        "segments": rows,
        "paths": prefixes.paths,
        "above": prefixes.above,
        "evicted": np.zeros((engines, contract.MAX_ENTRIES), state.EVICTED),
        "entries": new_rows(contract.Entry, contract.MAX_ENTRIES),
        "offered": np.zeros(contract.MAX_ENTRIES, np.int64),
        "cached": np.zeros(max(min(len(rows) * engines, most_blocks), 1), state.CACHED),
        "matched": np.zeros(engines, np.int64),
        "popular": np.full((max(len(popular), 1), engines), -1, np.int32),
    }


def _cut(blocks: Blocks, counts: Ints) -> Blocks:
    """The first `counts` blocks of every list."""
    if np.array_equal(counts, np.diff(blocks.offsets)):
        return blocks
    keep = np.zeros(len(blocks.ids) + 1, np.int8)
    np.add.at(keep, blocks.offsets[:-1], 1)
    np.add.at(keep, blocks.offsets[:-1] + counts, -1)
    inside = np.cumsum(keep[:-1], dtype=np.int8).astype(np.bool_)
    return Blocks(offsets_of(counts), blocks.ids[inside], blocks.tokens)


def _in_one_tree(lists: Blocks) -> Blocks:
    """Ids 0, 1, ... as first seen, renamed by their place when one follows different blocks."""
    codes = first_seen_codes(lists.ids)
    named = Blocks(lists.offsets, codes, lists.tokens)
    previous = _previous(named)
    if np.array_equal(_parents(named, previous)[codes], previous):
        return named
    counts, node = np.diff(lists.offsets), np.full(len(lists.offsets) - 1, _NONE, np.int64)
    places, made = np.zeros(len(codes), np.int64), 0
    for place in range(int(counts.max(initial=0))):
        rows = np.flatnonzero(counts > place)
        at = lists.offsets[rows] + place
        _, inverse = np.unique(np.stack([node[rows], codes[at]]), axis=1, return_inverse=True)
        node[rows] = places[at] = made + inverse.reshape(-1)
        made = int(node[rows].max()) + 1
    return Blocks(lists.offsets, first_seen_codes(places), lists.tokens)


def _previous(lists: Blocks) -> Int32s:
    """The block before each listed one, -1 for the first."""
    previous = np.empty(len(lists.ids), np.int32)
    previous[1:] = lists.ids[:-1]
    previous[lists.offsets[:-1][np.diff(lists.offsets) > 0]] = _NONE
    return previous


def _parents(lists: Blocks, previous: Int32s) -> Int32s:
    """The block that each id follows."""
    parent = np.full(int(lists.ids.max(initial=_NONE)) + 1, _NONE, np.int32)
    parent[lists.ids] = previous
    return parent


def _followers(trace: Trace, lists: Blocks) -> Ints:
    """The next request of the same session whose prompt begins with this one's, -1 without."""
    n = len(trace)
    follower = np.full(n, _NONE, np.int64)
    inside = np.flatnonzero(trace.session >= 0)
    ordered = inside[np.lexsort((inside, trace.turn[inside], trace.session[inside]))]
    if len(ordered) < 2:
        return follower
    row, following = ordered[:-1], ordered[1:]
    counts = np.diff(lists.offsets)
    same = (trace.session[row] == trace.session[following]) & (counts[row] > 0)
    row, following = row[same], following[same]
    longer = counts[following] > counts[row]
    row, following = row[longer], following[longer]
    last = lists.ids[lists.offsets[row] + counts[row] - 1]
    shared = lists.ids[lists.offsets[following] + counts[row] - 1] == last
    follower[row[shared]] = following[shared]
    return follower


def _answered(trace: Trace, lists: Blocks, follower: Ints) -> Ints:
    """Blocks of prompt and answer together that the follower's prompt repeats; 0 for none."""
    counts = np.diff(lists.offsets)
    total = (trace.prompt_tokens.astype(np.int64) + trace.output_tokens - 1) // lists.tokens
    reach = np.minimum(total, counts[follower])
    return np.where((follower >= 0) & (reach > counts), reach, 0)


def _segments(lists: Blocks) -> tuple[NDArray[np.bool_], Int32s]:
    """Which ids begin a segment, first blocks and those after a parting, and the segment of each.

    Runs of ids, each the next one's parent, are joined to the run that they go on from.
    """
    parent = _parents(lists, _previous(lists))
    children = np.bincount(parent[parent >= 0], minlength=len(parent))
    starts: NDArray[np.bool_] = (parent < 0) | (children[parent] > 1)
    heads = starts | (parent != np.arange(-1, len(parent) - 1))
    run = np.cumsum(heads, dtype=np.int32) - 1
    first = np.flatnonzero(heads)
    begins = starts[first]
    root = roots(np.where(begins, _NONE, run[parent[first]]))
    number = np.cumsum(begins, dtype=np.int32) - 1
    return starts, number[root][run]
