"""The waiting queue of an instance: a list in order of arrival and a heap in order of priority."""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.kernel.heaps import heap_insert, heap_remove
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
def add_waiting(s: Sim, i: int, r: int) -> None:
    """Put a request, whose priority is set, into the instance's queue."""
    inst, q = s.instances[i], s.requests[r]
    q.state = QUEUED
    q.instance = i
    q.heap_key = q.priority
    q.heap_seq = q.order
    inst.wait_root = heap_insert(s, inst.wait_root, r)
    _link_waiting(s, i, r)
    inst.waiting += 1
    s.class_stats[q.class_id].queued += 1
    if not q.remote:
        inst.waiting_prompt += q.prompt + q.done


@kernel
def take_waiting(s: Sim, i: int, r: int) -> None:
    """Remove a request from the instance's queue."""
    inst, q = s.instances[i], s.requests[r]
    inst.wait_root = heap_remove(s, inst.wait_root, r)
    _unlink_waiting(s, i, r)
    inst.waiting -= 1
    s.class_stats[q.class_id].queued -= 1
    if not q.remote:
        inst.waiting_prompt -= q.prompt + q.done


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
def rekey_queue(s: Sim, i: int) -> None:
    """Rebuild the waiting heap after priorities changed."""
    inst = s.instances[i]
    root = -1
    r = inst.wait_head
    while r >= 0:
        q = s.requests[r]
        q.heap_key = q.priority
        root = heap_insert(s, root, r)
        r = q.list_next
    inst.wait_root = root


@kernel
def empty_queue(s: Sim, i: int) -> int:
    """Pop the head of the waiting queue for re-routing; -1 when empty."""
    inst = s.instances[i]
    r = inst.wait_root
    if r < 0:
        return -1
    take_waiting(s, i, r)
    leave(s, i, r)
    return r
