"""The waiting queue of an instance: a list in order of arrival and heaps in order of priority.

Offline requests have a heap of their own, so that those who may not run at present, because
offline work holds its share of the batch, keep nobody else waiting.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.kernel.heaps import goes_before, heap_follow, heap_insert, heap_remove
from sandbox.kernel.jit import kernel
from sandbox.kernel.state import QUEUED, Sim


@kernel
def _link_waiting(s: Sim, i: int, r: int) -> None:
    inst, q = s.instances[i], s.requests[r]
    q.list_next = -1
    q.list_prev = inst.wait_tail
    if inst.wait_tail >= 0:
        s.requests[inst.wait_tail].list_next = r
    else:
        inst.wait_head = r
    inst.wait_tail = r


@kernel
def _unlink_waiting(s: Sim, i: int, r: int) -> None:
    inst, q = s.instances[i], s.requests[r]
    if q.list_prev >= 0:
        s.requests[q.list_prev].list_next = q.list_next
    else:
        inst.wait_head = q.list_next
    if q.list_next >= 0:
        s.requests[q.list_next].list_prev = q.list_prev
    else:
        inst.wait_tail = q.list_prev


@kernel
def _tokens_to_compute(s: Sim, r: int) -> int:
    """What a waiting request will have computed; only the rest when its KV lies elsewhere."""
    q = s.requests[r]
    if q.remote:
        return 0
    return q.target - q.computed if q.swapped > 0 else q.prompt + q.done


@kernel
def add_waiting(s: Sim, i: int, r: int) -> None:
    """Put a request, whose priority is set, into the instance's queue."""
    inst, q = s.instances[i], s.requests[r]
    q.state = QUEUED
    q.instance = i
    q.heap_key = q.priority
    q.heap_seq = q.place
    last = inst.wait_tail
    if last >= 0 and s.requests[last].online == q.online and goes_before(s, last, r):
        heap_follow(s, last, r)  # first come, first served is taken off such a chain in one step
    elif q.online:
        inst.wait_root = heap_insert(s, inst.wait_root, r)
    else:
        inst.offline_root = heap_insert(s, inst.offline_root, r)
    _link_waiting(s, i, r)
    inst.waiting += 1
    s.class_stats[q.class_id].queued += 1
    inst.waiting_prompt += _tokens_to_compute(s, r)


@kernel
def take_waiting(s: Sim, i: int, r: int) -> None:
    """Remove a request from the instance's queue."""
    inst, q = s.instances[i], s.requests[r]
    if q.online:
        inst.wait_root = heap_remove(s, inst.wait_root, r)
    else:
        inst.offline_root = heap_remove(s, inst.offline_root, r)
    _unlink_waiting(s, i, r)
    inst.waiting -= 1
    s.class_stats[q.class_id].queued -= 1
    inst.waiting_prompt -= _tokens_to_compute(s, r)


@kernel
def _first_of(s: Sim, a: int, b: int) -> int:
    """The one that goes first; -1 is nobody."""
    if a < 0:
        return b
    if b < 0 or goes_before(s, a, b):
        return a
    return b


@kernel
def queue_head(s: Sim, i: int) -> int:
    """Who may run next, -1 for nobody: offline requests only below their share of the batch."""
    inst = s.instances[i]
    if inst.offline_root >= 0 and inst.offline_running < inst.offline_cap:
        return _first_of(s, inst.wait_root, inst.offline_root)
    return inst.wait_root


@kernel
def arrive_at(s: Sim, i: int, r: int) -> None:
    """Count a request as work of this instance."""
    inst, q = s.instances[i], s.requests[r]
    if s.tenant_load[i, q.tenant] == 0:
        inst.tenants += 1
    s.tenant_load[i, q.tenant] += 1
    if not np.isnan(q.predicted):
        inst.predicted += max(q.predicted - q.done, 0.0)
    if not q.online:
        inst.offline += 1


@kernel
def leave(s: Sim, i: int, r: int) -> None:
    """Stop counting a request as work of this instance."""
    inst, q = s.instances[i], s.requests[r]
    s.tenant_load[i, q.tenant] -= 1
    if s.tenant_load[i, q.tenant] == 0:
        inst.tenants -= 1
    if not q.online:
        inst.offline -= 1
    if not np.isnan(q.predicted):
        inst.predicted = max(inst.predicted - max(q.predicted - q.done, 0.0), 0.0)
    if inst.waiting + inst.running == 0:
        inst.predicted = 0.0


@kernel
def forget_swapped(s: Sim, i: int, r: int) -> None:
    """Drop the KV that a request has in host memory: it was taken back, or will be recomputed."""
    s.instances[i].swap_used -= s.requests[r].swapped
    s.requests[r].swapped = 0


@kernel
def rekey_queue(s: Sim, i: int) -> None:
    """Rebuild the waiting heap after priorities changed."""
    inst = s.instances[i]
    inst.wait_root = inst.offline_root = -1
    r = inst.wait_head
    while r >= 0:
        q = s.requests[r]
        q.heap_key = q.priority
        if q.online:
            inst.wait_root = heap_insert(s, inst.wait_root, r)
        else:
            inst.offline_root = heap_insert(s, inst.offline_root, r)
        r = q.list_next


@kernel
def empty_queue(s: Sim, i: int) -> int:
    """Pop the head of the waiting queue for re-routing; -1 when empty."""
    inst = s.instances[i]
    r = _first_of(s, inst.wait_root, inst.offline_root)
    if r < 0:
        return -1
    take_waiting(s, i, r)
    forget_swapped(s, i, r)
    leave(s, i, r)
    return r
