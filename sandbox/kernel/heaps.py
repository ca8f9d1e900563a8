"""Heaps without allocation: pairing heaps threaded through requests, and two binary heaps.

A request is in at most one pairing heap: its instance's waiting queue (key: priority, then
arrival order) or its instance's decoding batch (key: the step count at which it finishes).
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.jit import kernel
from sandbox.kernel.state import Sim


@kernel
def goes_before(s: Sim, a: int, b: int) -> bool:
    """Order of a pairing heap: key, then sequence number."""
    x, y = s.requests[a], s.requests[b]
    if x.heap_key != y.heap_key:
        return x.heap_key < y.heap_key
    return x.heap_seq < y.heap_seq


@kernel
def _meld(s: Sim, a: int, b: int) -> int:
    if a < 0:
        return b
    if b < 0:
        return a
    if goes_before(s, b, a):
        a, b = b, a
    first = s.requests[a].heap_child
    s.requests[b].heap_next = first
    s.requests[b].heap_prev = a
    if first >= 0:
        s.requests[first].heap_prev = b
    s.requests[a].heap_child = b
    return a


@kernel
def heap_insert(s: Sim, root: int, x: int) -> int:
    """Insert request `x`, whose key is set; the new root."""
    s.requests[x].heap_child = -1
    s.requests[x].heap_next = -1
    s.requests[x].heap_prev = -1
    return _meld(s, root, x)


@kernel
def heap_follow(s: Sim, node: int, x: int) -> None:
    """Insert `x` behind a request of the heap that goes before it: a queue becomes a chain."""
    heap_insert(s, node, x)


@kernel
def _pair(s: Sim, first: int) -> int:
    """Meld a list of siblings: pairs from the left, then all from the right."""
    pairs = -1
    while first >= 0:
        a = first
        b = s.requests[a].heap_next
        if b < 0:
            s.requests[a].heap_next = pairs
            pairs = a
            break
        first = s.requests[b].heap_next
        s.requests[a].heap_next = -1
        s.requests[b].heap_next = -1
        a = _meld(s, a, b)
        s.requests[a].heap_next = pairs
        pairs = a
    root = -1
    while pairs >= 0:
        following = s.requests[pairs].heap_next
        s.requests[pairs].heap_next = -1
        s.requests[pairs].heap_prev = -1
        root = _meld(s, root, pairs)
        pairs = following
    return root


@kernel
def heap_pop(s: Sim, root: int) -> int:
    """Remove the root; the new root, -1 when empty."""
    return _pair(s, s.requests[root].heap_child)


@kernel
def heap_remove(s: Sim, root: int, x: int) -> int:
    """Remove any request; the new root."""
    if x == root:
        return heap_pop(s, root)
    before, after = s.requests[x].heap_prev, s.requests[x].heap_next
    if s.requests[before].heap_child == x:
        s.requests[before].heap_child = after
    else:
        s.requests[before].heap_next = after
    if after >= 0:
        s.requests[after].heap_prev = before
    return _meld(s, root, _pair(s, s.requests[x].heap_child))


@kernel
def _event_before(s: Sim, i: int, j: int) -> bool:
    x, y = s.events[i], s.events[j]
    if x.at != y.at:
        return x.at < y.at
    if x.kind != y.kind:
        return x.kind < y.kind
    if x.a != y.a:
        return x.a < y.a
    return x.b < y.b


@kernel
def _swap_events(s: Sim, i: int, j: int) -> None:
    x, y = s.events[i], s.events[j]
    x.at, y.at = y.at, x.at
    x.kind, y.kind = y.kind, x.kind
    x.a, y.a = y.a, x.a
    x.b, y.b = y.b, x.b


@kernel
def push_event(s: Sim, at: int, kind: int, a: int, b: int) -> None:
    """Add an event to the general heap."""
    totals = s.totals[0]
    k = totals.events
    if k >= len(s.events):
        totals.broken = 1
        return
    totals.events = k + 1
    event = s.events[k]
    event.at, event.kind, event.a, event.b = at, kind, a, b
    while k > 0:
        up = (k - 1) >> 1
        if not _event_before(s, k, up):
            break
        _swap_events(s, k, up)
        k = up


@kernel
def pop_event(s: Sim) -> None:
    """Drop the earliest event of the general heap."""
    totals = s.totals[0]
    n = totals.events - 1
    totals.events = n
    _swap_events(s, 0, n)
    k = 0
    while True:
        low = 2 * k + 1
        if low >= n:
            break
        if low + 1 < n and _event_before(s, low + 1, low):
            low += 1
        if not _event_before(s, low, k):
            break
        _swap_events(s, k, low)
        k = low


@kernel
def _instance_before(s: Sim, a: int, b: int) -> bool:
    x, y = s.instances[a], s.instances[b]
    if x.event_at != y.event_at:
        return x.event_at < y.event_at
    return x.id < y.id


@kernel
def _place(s: Sim, k: int, i: int) -> None:
    s.instance_heap[k] = i
    s.instances[i].event_pos = k


@kernel
def set_instance_event(s: Sim, i: int, at: int) -> None:
    """Insert or move an instance in the heap of step ends; NEVER stays at the bottom."""
    totals = s.totals[0]
    inst = s.instances[i]
    inst.event_at = at
    if inst.event_pos < 0:
        _place(s, totals.instance_events, i)
        totals.instance_events += 1
    k = inst.event_pos
    while k > 0:
        up = (k - 1) >> 1
        if not _instance_before(s, i, s.instance_heap[up]):
            break
        _place(s, k, s.instance_heap[up])
        k = up
    _place(s, k, i)
    while True:
        low = 2 * k + 1
        if low >= totals.instance_events:
            break
        if low + 1 < totals.instance_events and _instance_before(
            s, s.instance_heap[low + 1], s.instance_heap[low]
        ):
            low += 1
        if not _instance_before(s, s.instance_heap[low], i):
            break
        _place(s, k, s.instance_heap[low])
        k = low
    _place(s, k, i)


@kernel
def drop_instance_event(s: Sim, i: int) -> None:
    """Take an instance out of the heap of step ends."""
    totals = s.totals[0]
    k = s.instances[i].event_pos
    if k < 0:
        return
    totals.instance_events -= 1
    last = s.instance_heap[totals.instance_events]
    s.instances[i].event_pos = -1
    if last != i:
        _place(s, k, last)
        set_instance_event(s, last, s.instances[last].event_at)
