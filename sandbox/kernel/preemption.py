"""Preemption: whom an engine throws out of its batch when KV blocks run out, and how they return.

The victim is the running request with the highest priority value and, among equals, the one that
came to the engine last; it may be the very request that needs the blocks. With one priority for
all that is the end of the running list, which is in order of arrival.

*Recompute* drops the victim's KV; prompt and output so far are computed again when it is its turn.
*Swap* copies all of its KV to host memory, shared prefix blocks included, as long as the engine's
swap space lasts, and copies it back into blocks of its own before the request goes on; each copy
makes the step in which it happens longer by blocks * time per block over the host links of all
GPUs of the replica. Without space the victim is recomputed.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.batch import start_decoding, start_filling, start_running, stop_running
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.landing import SETTLED
from sandbox.kernel.queues import add_waiting, forget_swapped
from sandbox.kernel.state import BLOCK_TOKENS, Sim
from sandbox.summary import count_preempted


@kernel
def _swap_out(s: Sim, i: int, r: int, blocks: int) -> bool:
    """Copy the KV of a victim to host memory if there is space."""
    inst = s.instances[i]
    shape = s.shapes[inst.shape]
    if blocks < 1 or inst.swap_used + blocks > shape.swap_blocks:
        return False
    s.requests[r].swapped = blocks
    inst.swap_used += blocks
    inst.swapping += blocks * shape.swap_block
    s.totals[0].swaps += 1
    return True


@kernel
def _kv_blocks(s: Sim, i: int, r: int) -> int:
    """Blocks that hold computed KV of a running request before the step that is being formed."""
    inst, q = s.instances[i], s.requests[r]
    tokens = q.computed
    if q.decoding:
        tokens = q.prompt + q.done + inst.count - q.enter_count - 1
    return (tokens + BLOCK_TOKENS - 1) // BLOCK_TOKENS


@entry
def preempt(s: Sim, i: int, r: int) -> int:
    """Throw a request out of the batch and back into the queue, before a step takes blocks."""
    inst, q = s.instances[i], s.requests[r]
    blocks = _kv_blocks(s, i, r)
    decoded = q.decoding
    stop_running(s, i, r)
    if decoded:
        q.computed = q.target = q.prompt + q.done  # nothing is left to compute if KV is kept
    q.preempted += 1
    q.chunk = 0
    if not s.settings[0].swap or not _swap_out(s, i, r, blocks):
        q.computed = 0
    inst.preemptions += 1
    inst.asked = -1
    s.totals[0].preemptions += 1
    count_preempted(s.sums, q.class_id, 1)
    add_waiting(s, i, r)
    return 0


@kernel
def _last_settled(s: Sim, r: int) -> int:
    """The last running request up to `r` whose KV is all here, -1 when there is none."""
    while r >= 0 and s.requests[r].landing != SETTLED:
        r = s.requests[r].list_prev
    return r


@kernel
def victim(s: Sim, i: int) -> int:
    """The running request to preempt first; KV that is still landing belongs to its source."""
    worst = _last_settled(s, s.instances[i].run_tail)
    if not s.settings[0].has_priority:
        return worst
    r = _last_settled(s, s.requests[worst].list_prev)
    while r >= 0:
        q, w = s.requests[r], s.requests[worst]
        if q.priority > w.priority or (q.priority == w.priority and q.place > w.place):
            worst = r
        r = _last_settled(s, q.list_prev)
    return worst


@kernel
def edge_blocks(s: Sim, i: int) -> int:
    """Blocks that the decoding sequences need for the next step."""
    inst = s.instances[i]
    return inst.bins[(1 - inst.count) % BLOCK_TOKENS]


@kernel
def give_decode_blocks(s: Sim, i: int) -> bool:
    """One new block for each sequence at a block edge; True when somebody was preempted."""
    inst = s.instances[i]
    preempted = False
    while edge_blocks(s, i) > inst.blocks_total - inst.blocks_used:
        preempt(s, i, victim(s, i))
        preempted = True
    inst.blocks_used += edge_blocks(s, i)
    return preempted


@kernel
def give_fill_blocks(s: Sim, i: int, r: int, blocks: int) -> bool:
    """Blocks for the next chunk of a prompt, whoever has to go; False when it was `r` itself."""
    inst, q = s.instances[i], s.requests[r]
    while blocks - q.blocks > inst.blocks_total - inst.blocks_used:
        worst = victim(s, i)
        inst.blocks_used -= edge_blocks(s, i)
        inst.room += s.requests[worst].chunk
        preempt(s, i, worst)
        inst.blocks_used += edge_blocks(s, i)
        if worst == r:
            return False
    inst.blocks_used += blocks - q.blocks
    q.blocks = blocks
    return True


@kernel
def take_back(s: Sim, i: int, r: int, first_chunk: int) -> bool:
    """Copy the KV of a swapped request back if blocks for all of it and its next step are free."""
    inst, q = s.instances[i], s.requests[r]
    decodes = q.computed >= q.target
    tokens = q.prompt + q.done if decodes else q.computed + first_chunk
    blocks = (tokens + BLOCK_TOKENS - 1) // BLOCK_TOKENS
    if blocks > inst.blocks_total - inst.blocks_used:
        return False
    inst.swapping += q.swapped * s.shapes[inst.shape].swap_block
    start_running(s, i, r)
    forget_swapped(s, i, r)
    q.blocks = blocks
    inst.blocks_used += blocks
    if decodes:
        start_decoding(s, i, r)
    else:
        start_filling(s, i, r)
    return True
