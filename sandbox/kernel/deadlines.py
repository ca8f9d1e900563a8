"""Deadlines of classes that drop what is late: an event at the deadline, and a look on the way.

What has not started by then is rejected where it is: held by a router, in an engine's queue, or
when it next reaches one of them. What has started is finished.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.engine import interrupt
from sandbox.kernel.heaps import push_event
from sandbox.kernel.jit import kernel
from sandbox.kernel.ledger import reject_request
from sandbox.kernel.queues import leave, queue_head, take_waiting
from sandbox.kernel.state import DEADLINE, Sim


@kernel
def watch_deadline(s: Sim, r: int, now: int) -> None:
    """Have the deadline of an arriving request looked at, if its class drops what is late."""
    limits, q = s.settings[0], s.requests[r]
    if limits.drops_late and limits.class_drops[q.class_id] == 1:
        push_event(s, now + limits.class_late[q.class_id], DEADLINE, -1, r)


@kernel
def is_late(s: Sim, r: int, now: int) -> bool:
    """Has a request that never ran passed a deadline that its class drops it for?"""
    limits, q = s.settings[0], s.requests[r]
    if not limits.drops_late or limits.class_drops[q.class_id] != 1:
        return False
    return q.first < 0 and q.preempted == 0 and now - q.entered >= limits.class_late[q.class_id]


@kernel
def drop_queued(s: Sim, r: int, now: int) -> None:
    """Reject a request in an engine's queue; if it was the head, the next may be let in."""
    i = s.requests[r].instance
    inst = s.instances[i]
    was_head = queue_head(s, i) == r
    take_waiting(s, i, r)
    leave(s, i, r)
    reject_request(s, r, now)
    if was_head:
        inst.asked = -1
        interrupt(s, i, now)
