"""Which prompt tokens an engine step computes: chunks of running prompts, then of new ones.

A step of a replica with `pp` stages is `pp` micro-batches; each has the token budget for itself
and its share of the decoding sequences. Chunks fill one micro-batch after the other, a long prompt
several of them, as vLLM V1 puts a prompt into its next batch before the last one is computed. The
stages work on all of them at the same time, so the step takes as long as its longest micro-batch
(the cycle time of a pipeline with as many jobs as stages); with `pp` = 1 it is that one.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.batch import start_filling, start_running
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.ledger import note_start
from sandbox.kernel.preemption import give_fill_blocks, take_back
from sandbox.kernel.prefix import matching_tokens, needed_blocks, take_blocks, unused_among
from sandbox.kernel.queue_hooks import ask_admit
from sandbox.kernel.queues import queue_head
from sandbox.kernel.state import BLOCK_TOKENS, Sim
from sandbox.kernel.transfer import pull


@kernel
def _chunk_ps(s: Sim, shape: int, chunk: int, prefix: int) -> int:
    p = s.shapes[shape]
    work = p.attention_prefix * prefix + p.attention_chunk * chunk + p.attention_linear
    return (work * chunk) >> 10


@kernel
def decodes_each(s: Sim, i: int) -> int:
    """Decoding sequences of the fullest micro-batch."""
    inst = s.instances[i]
    if inst.pp == 1:
        return inst.decoding
    return (inst.decoding + inst.pp - 1) // inst.pp


@kernel
def _close_micro_batch(s: Sim, i: int) -> None:
    inst = s.instances[i]
    if inst.micro_tokens > 0:
        took = s.step_tokens[inst.shape, inst.micro_tokens + decodes_each(s, i)] + inst.attention
        inst.prefill = max(inst.prefill, took, 1)
        inst.micro_tokens = 0
        inst.attention = 0


@kernel
def _pack(s: Sim, i: int, r: int) -> None:
    """Put a request's chunk into the open micro-batch, and the rest of it into the next."""
    inst, q = s.instances[i], s.requests[r]
    prefix, left = q.computed, q.chunk
    while left > 0:
        if inst.micro_tokens >= inst.micro:
            _close_micro_batch(s, i)
        part = min(left, inst.micro - inst.micro_tokens)
        inst.attention += _chunk_ps(s, inst.shape, part, prefix)
        inst.micro_tokens += part
        prefix += part
        left -= part


@kernel
def _fill_running(s: Sim, i: int) -> None:
    """Chunks and blocks for the prompts that are being computed; who has no blocks preempts."""
    inst = s.instances[i]
    r = inst.fill_head
    while r >= 0 and inst.room > 0:
        q = s.requests[r]
        chunk = min(q.target - q.computed, inst.room)
        blocks = max((q.computed + chunk + BLOCK_TOKENS - 1) // BLOCK_TOKENS, q.blocks)
        if not give_fill_blocks(s, i, r, blocks):
            break  # it was the lowest itself; who runs after it waits for the next step
        q.chunk = chunk
        inst.room -= chunk
        r = q.fill_next
    r = inst.fill_head
    while r >= 0:
        _pack(s, i, r)
        r = s.requests[r].fill_next


@kernel
def _spare_blocks(s: Sim, i: int, r: int, budget: int) -> int:
    """KV blocks left free when a request is let in, below 0 when it does not fit.

    For whom there was no room there is none until blocks are given back or more can be shared:
    so long nothing is reckoned again.
    """
    inst, q = s.instances[i], s.requests[r]
    free = inst.blocks_total - inst.blocks_used
    if inst.denied == r and free < inst.denied_blocks:
        return -1
    if not s.settings[0].reserve:
        return free - _first_blocks(s, i, r, budget)
    if s.settings[0].has_prefixes:
        blocks = needed_blocks(s, i, r)
    else:
        blocks = (q.target + BLOCK_TOKENS - 1) // BLOCK_TOKENS
    if blocks > free:
        inst.denied = r
        inst.denied_blocks = blocks
    return free - blocks


@kernel
def _first_blocks(s: Sim, i: int, r: int, budget: int) -> int:
    """Blocks that the first chunk takes, shared ones without a user among them."""
    cached, unused = 0, 0
    if s.settings[0].has_prefixes:
        cached = matching_tokens(s, i, r)
        unused = unused_among(s, i, r) * (s.settings[0].block_tokens // BLOCK_TOKENS)
    chunk = min(s.requests[r].target - cached, budget)
    return unused + (chunk + BLOCK_TOKENS - 1) // BLOCK_TOKENS


@kernel
def _try_admit(s: Sim, i: int, r: int, budget: int) -> bool:
    """Start the head of the queue if its prompt fits; its prefix comes from the cache."""
    q = s.requests[r]
    q.target = q.prompt + q.done
    spare = _spare_blocks(s, i, r, budget)
    if spare < 0:
        return False
    q.blocks = 0
    cached = 0
    if s.settings[0].has_prefixes:
        cached = take_blocks(s, i, r, spare)
        q.blocks = q.held_blocks * (s.settings[0].block_tokens // BLOCK_TOKENS)
    q.computed = cached
    s.totals[0].cached_tokens += cached
    s.totals[0].prompt_tokens += q.target
    note_start(s, r, cached)
    start_running(s, i, r)
    start_filling(s, i, r)
    return True


@kernel
def _admitted(s: Sim, i: int, r: int) -> bool:
    """The policy's word on the head of the queue, asked anew when the head changed or KV was freed.

    In between the last word stands, so that how often it is asked does not hang on step lengths.
    """
    inst = s.instances[i]
    if inst.asked != r:
        inst.allowed = ask_admit(s, i, r)
        inst.asked = r
    return inst.allowed


@kernel
def _let_in(s: Sim, i: int, r: int) -> bool:
    """Start the head of the queue, from nothing or from host memory, if its blocks are free."""
    inst, q = s.instances[i], s.requests[r]
    if q.swapped > 0:
        return take_back(s, i, r, min(q.target - q.computed, inst.room))
    return _try_admit(s, i, r, inst.room)


@kernel
def _first_chunk(s: Sim, i: int, r: int) -> None:
    """Tokens of a request that was just let in: of its prompt, or one when it decodes already."""
    inst, q = s.instances[i], s.requests[r]
    if q.decoding:
        inst.room -= 1
        return
    q.chunk = min(q.target - q.computed, inst.room)
    blocks = max((q.computed + q.chunk + BLOCK_TOKENS - 1) // BLOCK_TOKENS, q.blocks)
    inst.blocks_used += blocks - q.blocks
    q.blocks = blocks
    inst.room -= q.chunk
    _pack(s, i, r)


@kernel
def _fill_waiting(s: Sim, i: int) -> None:
    """Let waiting requests in as far as tokens, seats, blocks and the policy allow."""
    inst = s.instances[i]
    while inst.room > 0 and inst.running + inst.incoming < inst.max_seqs:
        r = queue_head(s, i)
        if r < 0 or (s.settings[0].has_admit and not _admitted(s, i, r)):
            break
        if s.requests[r].remote:
            if not pull(s, i, r):
                break
            continue
        if not _let_in(s, i, r):
            break
        _first_chunk(s, i, r)


@entry
def fill_chunks(s: Sim, i: int, admit: int) -> int:
    """Form the prompt part of a step, `prefill` picoseconds of it; 1 when somebody was preempted.

    `room` counts the tokens that are left, `micro` those that one micro-batch may hold.
    """
    inst = s.instances[i]
    budget = min(inst.token_budget, s.settings[0].most_budget)
    before = inst.preemptions
    inst.micro = max(budget - decodes_each(s, i), 0)
    inst.room = inst.micro * inst.pp
    inst.prefill = inst.micro_tokens = inst.attention = 0
    if inst.filling > 0:
        _fill_running(s, i)
    preempted = inst.preemptions - before
    if admit == 1 and preempted == 0 and inst.waiting > 0:
        _fill_waiting(s, i)
    _close_micro_batch(s, i)
    return min(preempted, 1)
