"""Live migration of running requests, after Llumnix: copy while decoding, then a short stall.

A move reserves a seat and blocks on the destination for the context and what it will grow
meanwhile, and copies the KV over the links while the request decodes on. When the copy is there the
request leaves its batch at the next step boundary, and what it generated since follows: that is
the stall. From there on it is like any hand-over. A request that ends, is preempted or loses its
engine in between frees the reservation.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.contract import PREFILL
from sandbox.kernel.batch import enter_batch, leave_batch
from sandbox.kernel.branches import is_sampled
from sandbox.kernel.engine import enqueue, holds_whole, interrupt
from sandbox.kernel.evict import make_room
from sandbox.kernel.handover import free_reservation
from sandbox.kernel.heaps import push_event
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.landing import (
    ARRIVING,
    BETWEEN,
    CALLED_OFF,
    COPYING,
    GOING,
    STAYS,
    blocks_for,
    kv_tokens,
)
from sandbox.kernel.links import occupy_links, transfer_ps
from sandbox.kernel.queues import arrive_at
from sandbox.kernel.routing import decide
from sandbox.kernel.runs import blocks_at, steps_done
from sandbox.kernel.state import ACTIVE, COPIED, NEVER, UNUSED, Sim
from sandbox.kernel.transfer import keep_kv, start_landing


@kernel
def context_tokens(s: Sim, r: int, now: int) -> int:
    """Prompt and generated tokens of a decoding request at `now`."""
    q = s.requests[r]
    inst = s.instances[q.instance]
    return q.prompt + q.done + inst.count - q.enter_count + steps_done(s, q.instance, now)


@kernel
def _growth(s: Sim, i: int, d: int, tokens: int, now: int) -> int:
    """Tokens a request will generate while its KV is copied, at the present step time."""
    inst = s.instances[i]
    context = inst.context + steps_done(s, i, now) * inst.decoding
    b = inst.decoding
    step = s.shapes[inst.shape].step_overhead + s.step_batch[inst.shape, b]
    step += s.step_context[inst.shape, b] * context
    return transfer_ps(s, i, d, tokens) // max(step, 1) + 1


@kernel
def may_receive(s: Sim, d: int) -> bool:
    """Does the instance decode, stay, and have a seat free?"""
    inst = s.instances[d]
    return (
        inst.state == ACTIVE
        and inst.role != PREFILL
        and inst.leaves_at == NEVER
        and inst.running + inst.incoming < inst.max_seqs
    )


@kernel
def may_move(s: Sim, r: int) -> bool:
    """Does the request decode, is not moving already, and shares its prompt with no sample?"""
    if is_sampled(s, r):
        return False
    return s.requests[r].decoding and s.requests[r].move_phase == STAYS


@kernel
def begin_move(s: Sim, r: int, d: int, now: int, at: int) -> bool:
    """Reserve on instance `d` and copy from `at` on; False when it cannot be done."""
    q, to = s.requests[r], s.instances[d]
    if q.instance == d or not may_move(s, r) or not may_receive(s, d):
        return False
    i, tokens = q.instance, context_tokens(s, r, now) - 1
    blocks = blocks_for(tokens + _growth(s, i, d, tokens, now))
    if blocks > to.blocks_total - blocks_at(s, d, now) or not holds_whole(s, d, r):
        return False
    to.blocks_used += blocks
    to.incoming += 1
    make_room(s, d, now)
    q.move_to = d
    q.move_id = to.id
    q.move_phase = COPYING
    q.reserved = blocks
    q.copied = tokens
    q.moves_at = occupy_links(s, i, d, tokens, at)
    push_event(s, q.moves_at, COPIED, d, r)
    interrupt(s, d, now)
    return True


@kernel
def detach(s: Sim, i: int, now: int) -> None:
    """At a step boundary of `i`: who was copied leaves, the other engine hears after all steps."""
    r = s.instances[i].run_head
    while r >= 0:
        q = s.requests[r]
        following = q.list_next
        if q.move_phase == GOING:
            s.instances[i].going -= 1
            q.move_phase = BETWEEN
            leave_batch(s, i, r)
            keep_kv(s, i, r, now)
            push_event(s, now, COPIED, q.move_to, r)
        r = following
    s.instances[i].asked = -1


@kernel
def _settle_in(s: Sim, d: int, r: int, now: int) -> None:
    """Take the seat and the blocks that were reserved; the rest of the KV sets out."""
    q, inst = s.requests[r], s.instances[d]
    tokens = kv_tokens(s, r)
    more = blocks_for(tokens) - q.reserved
    fits = more <= inst.blocks_total - blocks_at(s, d, now)
    free_reservation(s, r, now)
    q.instance = d
    if not fits:
        q.queued_at = now
        enqueue(s, d, r, now)
        interrupt(s, d, now)
        return
    arrive_at(s, d, r)
    enter_batch(s, d, r)
    q.blocks = q.reserved + more
    inst.blocks_used += q.blocks
    make_room(s, d, now)
    q.move_phase = ARRIVING
    start_landing(s, d, r, tokens - q.copied, now)
    interrupt(s, d, now)


@entry
def copied(s: Sim, d: int, r: int, now: int) -> int:
    """A copy is there, a copied request left its batch, or a move was called off."""
    q = s.requests[r]
    phase = q.move_phase
    here = s.instances[d].id == q.move_id and s.instances[d].state != UNUSED
    if phase == COPYING and q.moves_at == now and q.move_to == d:
        if s.instances[q.instance].stuck:
            return 0  # it is taken away when the failure is detected
        q.move_phase = GOING
        s.instances[q.instance].going += 1
        interrupt(s, q.instance, now)
    elif phase == BETWEEN and here:
        _settle_in(s, d, r, now)
    elif phase == BETWEEN:
        q.move_phase = STAYS
        decide(s, r, now)
    elif phase == CALLED_OFF and here:
        free_reservation(s, r, now)
        interrupt(s, d, now)
    elif phase == CALLED_OFF:
        q.move_phase = STAYS
    return 0
