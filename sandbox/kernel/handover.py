"""From source to decode engine: the events of a hand-over, and what happens when one of them goes.

A source that goes takes the KV it kept with it: those requests are routed anew and computed again.
When the receiving engine goes, or drains, the KV is still at the source and `route_decode` is asked
again. KV that nobody fetches for `network.keep_s` is dropped, as vLLM's connectors do.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.batch import leave_batch, stop_running
from sandbox.kernel.engine import interrupt, wake
from sandbox.kernel.evict import make_room
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.landing import (
    ARRIVING,
    COPYING,
    GOING,
    STAYS,
    UNDERWAY,
    kv_tokens,
    link_landed,
    unlink_kept,
)
from sandbox.kernel.queues import leave, take_waiting
from sandbox.kernel.routing import decide, retry_held
from sandbox.kernel.state import DECIDING, HELD, KEPT, QUEUED, RUNNING, UNUSED, Sim
from sandbox.kernel.transfer import free_source


@kernel
def ask_decode(s: Sim, r: int, now: int) -> None:
    """All step ends of `now` are in: ask where a request decodes whose prompt is computed."""
    if s.requests[r].state == KEPT:
        decide(s, r, now)


@entry
def landed(s: Sim, i: int, r: int, now: int) -> int:
    """The KV of a request arrived on instance `i`, unless that transfer was called off since."""
    q, totals = s.requests[r], s.totals[0]
    if q.landing != UNDERWAY or q.moves_at != now or q.instance != i:
        return 0
    source = q.source
    if s.instances[source].stuck or s.instances[i].stuck:
        return 0  # it never ends; when the failure is detected the request is seen to
    if source == i:
        unlink_kept(s, r)
    else:
        free_source(s, r, now)
    q.remote = False
    link_landed(s, i, r)
    totals.transfers += 1
    totals.transfer_ps += now - q.pulled_at
    if q.move_phase == ARRIVING:
        q.move_phase = STAYS
        q.moved += 1
        totals.migrations += 1
    interrupt(s, i, now)
    if source != i:
        wake(s, source, now)
        if totals.held > 0:
            retry_held(s, now)
    return 0


@entry
def lose_kv(s: Sim, r: int, now: int) -> int:
    """The KV kept for a request is gone: it is routed anew, unless that is under way anyhow."""
    q = s.requests[r]
    source, i, was = q.source, q.instance, q.state
    q.preempted += 1
    s.totals[0].preemptions += 1
    s.totals[0].recomputed += kv_tokens(s, r)
    if was == QUEUED:
        take_waiting(s, i, r)
        leave(s, i, r)
    elif was == RUNNING:
        leave_batch(s, i, r)
        leave(s, i, r)
        s.instances[i].asked = -1
    free_source(s, r, now)
    q.remote = False
    if was == DECIDING:
        q.sent_to = -1  # whoever it is delivered to sends it back
    elif was != HELD:
        if i != source and was != KEPT:
            interrupt(s, i, now)
        decide(s, r, now)
    return 0


@kernel
def lose_kept(s: Sim, i: int, now: int) -> None:
    """Instance `i` goes: so does the KV it kept for others."""
    while s.instances[i].keep_head >= 0:
        lose_kv(s, s.instances[i].keep_head, now)


@kernel
def drop_forgotten(s: Sim, now: int) -> None:
    """Sources drop what nobody began to fetch for too long."""
    for i in range(len(s.instances)):
        inst = s.instances[i]
        if inst.state == UNUSED or inst.kept == 0:
            continue
        r = inst.keep_head
        while r >= 0:
            q = s.requests[r]
            following = q.keep_next
            if now - q.kept_since >= s.settings[0].keep and q.landing != UNDERWAY:
                lose_kv(s, r, now)
            r = following
        wake(s, i, now)


@kernel
def redirect_landing(s: Sim, i: int, now: int) -> None:
    """Instance `i` goes or drains: what is on its way there is asked about again."""
    r = s.instances[i].run_head
    while r >= 0:
        q = s.requests[r]
        following = q.list_next
        if q.landing == UNDERWAY:
            stop_running(s, i, r)
            leave(s, i, r)
            decide(s, r, now)
        r = following


@kernel
def free_reservation(s: Sim, r: int, now: int) -> None:
    """What a migration reserved on its way to an instance is free again."""
    q = s.requests[r]
    inst = s.instances[q.move_to]
    make_room(s, q.move_to, now)
    inst.blocks_used -= q.reserved
    inst.incoming -= 1
    inst.asked = -1
    q.move_phase = STAYS


@kernel
def call_incoming_off(s: Sim, i: int, now: int) -> None:
    """Instance `i` goes or drains: nobody moves there any more."""
    for j in range(len(s.instances)):
        if s.instances[i].incoming == 0:
            return
        if s.instances[j].state == UNUSED:
            continue
        r = s.instances[j].run_head
        while r >= 0:
            q = s.requests[r]
            if q.move_to == i and (q.move_phase == COPYING or q.move_phase == GOING):
                if q.move_phase == GOING:
                    s.instances[j].going -= 1
                free_reservation(s, r, now)
            r = q.list_next
