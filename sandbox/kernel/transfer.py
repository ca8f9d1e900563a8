"""Prefill and decode apart: KV stays where the prompt was computed until a decode engine has it.

As in vLLM's connectors and Splitwise, the first token leaves the prefill engine, which keeps the
blocks without a seat in its batch. The decode engine pulls: when the request is admitted there,
with blocks for its whole context, the transfer starts; the request decodes from the first step
boundary after it has landed, and the source's blocks are free.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.batch import enter_batch, free_blocks, leave_seat, start_decoding
from sandbox.kernel.evict import make_room
from sandbox.kernel.heaps import push_event
from sandbox.kernel.jit import kernel
from sandbox.kernel.landing import (
    SETTLED,
    UNDERWAY,
    blocks_for,
    kv_tokens,
    link_kept,
    unlink_kept,
)
from sandbox.kernel.links import occupy_links
from sandbox.kernel.queues import leave, take_waiting
from sandbox.kernel.state import HANDOVER, KEPT, LANDED, Sim


@kernel
def keep_kv(s: Sim, i: int, r: int, now: int) -> None:
    """A request that is out of the batch leaves its KV here; where it decodes is to be decided."""
    q = s.requests[r]
    leave(s, i, r)
    link_kept(s, i, r)
    q.state = KEPT
    q.remote = True
    q.kept_since = now
    q.source_blocks = q.blocks
    q.blocks = 0


@kernel
def hand_over(s: Sim, i: int, r: int, now: int) -> None:
    """The prompt is computed on a prefill engine: ask for a decode engine, after all step ends."""
    leave_seat(s, i, r)
    keep_kv(s, i, r, now)
    s.requests[r].prefill_id = s.instances[i].id
    push_event(s, now, HANDOVER, i, r)


@kernel
def free_source(s: Sim, r: int, now: int) -> None:
    """The source drops the KV it kept for a request."""
    q = s.requests[r]
    i, blocks = q.source, q.blocks
    make_room(s, i, now)
    q.blocks = q.source_blocks
    free_blocks(s, i, r)
    q.blocks = blocks
    q.source_blocks = 0
    unlink_kept(s, r)
    s.instances[i].asked = -1


@kernel
def start_landing(s: Sim, i: int, r: int, tokens: int, now: int) -> None:
    """KV of `tokens` tokens sets out for instance `i`, where the request has seat and blocks."""
    q = s.requests[r]
    q.landing = UNDERWAY
    q.pulled_at = now
    s.instances[i].landing += 1
    q.moves_at = occupy_links(s, q.source, i, tokens, now)
    push_event(s, q.moves_at, LANDED, i, r)


@kernel
def pull(s: Sim, i: int, r: int) -> bool:
    """Admit the head of the queue, whose KV lies elsewhere, if blocks for all of it are free."""
    inst, q = s.instances[i], s.requests[r]
    tokens = kv_tokens(s, r)
    blocks = 0 if q.source == i else blocks_for(tokens)
    if blocks > inst.blocks_total - inst.blocks_used:
        return False
    take_waiting(s, i, r)
    enter_batch(s, i, r)
    inst.blocks_used += blocks
    q.blocks = q.source_blocks if q.source == i else blocks
    start_landing(s, i, r, tokens, s.totals[0].now)
    return True


@kernel
def join_landed(s: Sim, i: int) -> None:
    """Whose KV has landed since the last step boundary decodes from this one on."""
    inst = s.instances[i]
    while inst.landed_head >= 0:
        r = inst.landed_head
        inst.landed_head = s.requests[r].fill_next
        s.requests[r].landing = SETTLED
        inst.landing -= 1
        start_decoding(s, i, r)
    inst.landed_tail = -1
