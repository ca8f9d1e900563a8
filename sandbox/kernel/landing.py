"""Requests between two engines: KV kept where it was computed, KV landing, moves called off.

A request whose KV lies on another engine than the one that will decode it is *remote*: `source`
keeps its blocks until they have landed. On the receiving engine it is UNDERWAY, with its blocks
and its seat in the batch, then IN_PLACE until the next step boundary lets it decode.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.evict import make_room
from sandbox.kernel.heaps import push_event
from sandbox.kernel.jit import kernel
from sandbox.kernel.state import BLOCK_TOKENS, COPIED, Sim

# where the KV of a request that runs is
SETTLED, UNDERWAY, IN_PLACE = range(3)
# a migration: none, copying, copied and leaving at the next boundary, between the two engines,
# its last KV on the way, or called off with a reservation still to free
STAYS, COPYING, GOING, BETWEEN, ARRIVING, CALLED_OFF = range(6)


@kernel
def reset_links(s: Sim, i: int) -> None:
    """An engine that keeps, sends and receives nothing."""
    inst = s.instances[i]
    inst.keep_head = inst.keep_tail = inst.landed_head = inst.landed_tail = -1
    inst.kept = 0
    inst.landing = 0
    inst.incoming = 0
    inst.going = 0
    inst.egress_free = 0
    inst.ingress_free = 0


@kernel
def kv_tokens(s: Sim, r: int) -> int:
    """Tokens of a request whose KV is computed once it decodes: all but the latest."""
    q = s.requests[r]
    return q.prompt + q.done - 1


@kernel
def blocks_for(tokens: int) -> int:
    """KV blocks of that many tokens."""
    return (tokens + BLOCK_TOKENS - 1) // BLOCK_TOKENS


@kernel
def link_kept(s: Sim, i: int, r: int) -> None:
    """Append to the requests whose KV instance `i` keeps for others."""
    inst, q = s.instances[i], s.requests[r]
    q.source = i
    q.keep_next = -1
    q.keep_prev = inst.keep_tail
    if inst.keep_tail >= 0:
        s.requests[inst.keep_tail].keep_next = r
    else:
        inst.keep_head = r
    inst.keep_tail = r
    inst.kept += 1


@kernel
def unlink_kept(s: Sim, r: int) -> None:
    """The KV of a request is no longer kept anywhere for it."""
    q = s.requests[r]
    inst = s.instances[q.source]
    if q.keep_prev >= 0:
        s.requests[q.keep_prev].keep_next = q.keep_next
    else:
        inst.keep_head = q.keep_next
    if q.keep_next >= 0:
        s.requests[q.keep_next].keep_prev = q.keep_prev
    else:
        inst.keep_tail = q.keep_prev
    inst.kept -= 1
    q.source = -1


@kernel
def link_landed(s: Sim, i: int, r: int) -> None:
    """All KV is here: decode from the next step boundary on."""
    inst, q = s.instances[i], s.requests[r]
    q.landing = IN_PLACE
    q.fill_next = -1
    if inst.landed_tail >= 0:
        s.requests[inst.landed_tail].fill_next = r
    else:
        inst.landed_head = r
    inst.landed_tail = r


@kernel
def _unlink_landed(s: Sim, i: int, r: int) -> None:
    inst = s.instances[i]
    before, k = -1, inst.landed_head
    while k != r:
        before, k = k, s.requests[k].fill_next
    after = s.requests[r].fill_next
    if before >= 0:
        s.requests[before].fill_next = after
    else:
        inst.landed_head = after
    if inst.landed_tail == r:
        inst.landed_tail = before


@kernel
def stop_landing(s: Sim, i: int, r: int) -> None:
    """A request leaves the batch before it decoded; of KV still under way the source has all."""
    inst, q = s.instances[i], s.requests[r]
    make_room(s, i, s.totals[0].now)
    if q.landing == IN_PLACE:
        _unlink_landed(s, i, r)
    else:
        if q.source != i:
            inst.blocks_used -= q.blocks
        q.blocks = 0
    q.landing = SETTLED
    q.move_phase = STAYS
    inst.landing -= 1


@kernel
def call_off(s: Sim, r: int) -> None:
    """A request that is being copied leaves its batch otherwise: free what is reserved for it.

    As an event of its own, because engines touch one another after all step ends of a time.
    """
    q = s.requests[r]
    if q.move_phase == GOING:
        s.instances[q.instance].going -= 1
    q.move_phase = CALLED_OFF
    push_event(s, s.totals[0].now, COPIED, q.move_to, r)
