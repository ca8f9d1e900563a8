"""One engine: vLLM-style continuous batching with chunked prefill, macro-stepped while it decodes.

A step first gives every decoding sequence a KV block if it needs one (preempting by recompute
when there is none), then prompt chunks to running requests, then admits waiting ones, all within
the token budget. While no prompt is being computed, steps differ only by one token per sequence,
so k of them take a closed form: k * base + slope * (k * context + batch * k * (k - 1) / 2).
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.contract import PREFILL
from sandbox.kernel.batch import (
    give_decode_blocks,
    preempt,
    start_decoding,
    start_running,
    stop_running,
    unlink_fill,
)
from sandbox.kernel.calls import ask_admit
from sandbox.kernel.evict import make_room
from sandbox.kernel.heaps import push_event, set_instance_event
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.ledger import finish_request, note_first_token, note_start, reject_request
from sandbox.kernel.prefix import (
    matching_tokens,
    publish_prompt,
    take_blocks,
    unused_among,
)
from sandbox.kernel.queues import add_waiting, arrive_at, leave
from sandbox.kernel.runs import run_blocks, run_length_ps, steps_done, steps_with_blocks
from sandbox.kernel.state import (
    ACTIVE,
    BLOCK_TOKENS,
    DRAINED,
    IDLE,
    LEAVING,
    NEVER,
    RUN,
    STEP,
    Sim,
)
from sandbox.kernel.transfer import free_source, hand_over, join_landed, pull


@kernel
def _plan_chunk(s: Sim, i: int, r: int, budget: int) -> int:
    """Give a prefilling request its chunk of this step, as far as budget and blocks go."""
    inst, q = s.instances[i], s.requests[r]
    chunk = min(q.target - q.computed, budget)
    free = inst.blocks_total - inst.blocks_used
    room = (q.blocks + free) * BLOCK_TOKENS - q.computed
    chunk = min(chunk, room)
    if chunk <= 0:
        q.chunk = 0
        return 0
    blocks = (q.computed + chunk + BLOCK_TOKENS - 1) // BLOCK_TOKENS
    inst.blocks_used += blocks - q.blocks
    q.blocks = blocks
    q.chunk = chunk
    return chunk


@kernel
def _try_admit(s: Sim, i: int, r: int, budget: int) -> bool:
    """Start the head of the queue if its first chunk fits; its prefix comes from the cache."""
    inst, q = s.instances[i], s.requests[r]
    q.target = q.prompt + q.done
    cached, unused = 0, 0
    if s.settings[0].has_prefixes:
        cached = matching_tokens(s, i, r)
        unused = unused_among(s, i, r) * (s.settings[0].block_tokens // BLOCK_TOKENS)
    chunk = min(q.target - cached, budget)
    blocks = (chunk + BLOCK_TOKENS - 1) // BLOCK_TOKENS
    if blocks + unused > inst.blocks_total - inst.blocks_used:
        return False
    q.blocks = 0
    if s.settings[0].has_prefixes:
        take_blocks(s, i, r)
        q.blocks = q.held_blocks * (s.settings[0].block_tokens // BLOCK_TOKENS)
    q.computed = cached
    s.totals[0].cached_tokens += cached
    s.totals[0].prompt_tokens += q.target
    s.class_stats[0].cached_sum += cached
    s.class_stats[q.class_id].cached_sum += cached
    note_start(s, r)
    start_running(s, i, r)
    return True


@kernel
def _chunk_ps(s: Sim, shape: int, chunk: int, prefix: int) -> int:
    p = s.shapes[shape]
    work = p.attention_prefix * prefix + p.attention_chunk * chunk + p.attention_linear
    return (work * chunk) >> 10


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


@entry
def fill_chunks(s: Sim, i: int, budget: int, admit: int) -> int:
    """Chunks for running, then for newly admitted requests; how many tokens in all."""
    inst = s.instances[i]
    tokens, attention = 0, 0
    r = inst.fill_head
    while r >= 0:
        chunk = _plan_chunk(s, i, r, budget - tokens)
        if chunk > 0:
            attention += _chunk_ps(s, inst.shape, chunk, s.requests[r].computed)
            tokens += chunk
        r = s.requests[r].fill_next
    seats = inst.max_seqs - inst.incoming
    while admit == 1 and inst.wait_root >= 0 and tokens < budget and inst.running < seats:
        r = inst.wait_root
        if s.settings[0].has_admit and not _admitted(s, i, r):
            break
        if s.requests[r].remote:
            if not pull(s, i, r):
                break
            continue
        if not _try_admit(s, i, r, budget - tokens):
            break
        chunk = _plan_chunk(s, i, r, budget - tokens)
        attention += _chunk_ps(s, inst.shape, chunk, s.requests[r].computed)
        tokens += chunk
    inst.attention = attention
    return tokens


@kernel
def _unblock_prefill(s: Sim, i: int) -> None:
    """Nothing can move and nobody decodes: the newest prefilling request gives up its blocks."""
    inst = s.instances[i]
    if inst.filling > 1:
        preempt(s, i, inst.fill_tail)


@entry
def begin(s: Sim, i: int, now: int) -> int:
    """Form the next batch at `now`, or go idle."""
    inst = s.instances[i]
    if inst.landed_head >= 0:
        join_landed(s, i)
    budget = min(inst.token_budget, s.step_tokens.shape[1] - 1)
    preempted = give_decode_blocks(s, i)
    admit = 0 if preempted or inst.flipping else 1
    tokens = fill_chunks(s, i, budget - inst.decoding, admit)
    while tokens == 0 and inst.decoding == 0 and inst.filling > 1:
        _unblock_prefill(s, i)
        tokens = fill_chunks(s, i, budget, 0)
    inst.started = now
    inst.mode = STEP
    cached = inst.blocks_cached
    make_room(s, i, now)
    if tokens == 0 and inst.decoding == 0:
        inst.mode = IDLE
        inst.ends = NEVER
        set_instance_event(s, i, NEVER)
        return 0
    b = inst.decoding
    shape = inst.shape
    inst.slope = s.step_context[shape, b]
    overhead = s.shapes[shape].step_overhead
    if tokens > 0:
        inst.mode = STEP
        inst.steps = 1
        duration = overhead + s.step_tokens[shape, tokens + b] + s.step_mixed[shape, b]
        inst.ends = now + duration + inst.attention + inst.slope * inst.context
    else:
        inst.mode = RUN
        inst.base = overhead + s.step_batch[shape, b]
        most = int(s.requests[inst.done_root].heap_key) - inst.count
        if inst.waiting > 0 and (preempted or inst.blocks_cached != cached):
            most = 1  # what was preempted or evicted may let the head of the queue in next time
        if not s.settings[0].macro:
            most = 1
        first = inst.bins[(1 - inst.count) % BLOCK_TOKENS]
        free = inst.blocks_total - inst.blocks_used + first
        if inst.waiting > 0:
            free -= inst.blocks_cached  # an eviction may let the head of the queue in
        inst.steps = max(steps_with_blocks(s, i, free, most), 1)
        inst.ends = now + run_length_ps(s, i, inst.steps)
    set_instance_event(s, i, inst.ends)
    return 0


@entry
def interrupt(s: Sim, i: int, now: int) -> int:
    """New work at `now`: an idle engine starts, a decode run ends at its next step boundary."""
    inst = s.instances[i]
    if (inst.state != ACTIVE and inst.state != LEAVING) or inst.stuck:
        return 0
    if inst.mode == IDLE:
        begin(s, i, now)
    elif inst.mode == RUN and inst.ends > now:
        k = max(steps_done(s, i, now), 1)
        if inst.started + run_length_ps(s, i, k) <= now:
            k += 1  # the step that began at `now` was formed without the new work
        inst.steps = k
        inst.ends = inst.started + run_length_ps(s, i, k)
        set_instance_event(s, i, inst.ends)
    return 0


@kernel
def _advance(s: Sim, i: int, now: int) -> None:
    """Apply the steps that just ended to the decoding batch."""
    inst = s.instances[i]
    k = inst.steps
    if inst.mode == RUN and k > 1:
        first = inst.bins[(1 - inst.count) % BLOCK_TOKENS]
        make_room(s, i, now)
        inst.blocks_used += run_blocks(s, i, k) - first
    inst.last_step = now - inst.started
    if inst.mode == RUN:
        inst.last_step = inst.base + inst.slope * (inst.context + inst.decoding * (k - 1))
    inst.busy += now - inst.started
    s.totals[0].steps += k
    inst.count += k
    inst.context += k * inst.decoding
    inst.mode = STEP  # what was computed is counted; nothing is in progress until `begin`


@kernel
def _complete(s: Sim, i: int, r: int, now: int) -> None:
    stop_running(s, i, r)
    leave(s, i, r)
    s.instances[i].asked = -1
    s.instances[i].finished_tick += 1
    finish_request(s, r, now)


@kernel
def _finish_chunks(s: Sim, i: int, now: int) -> None:
    """Prompts whose last chunk was computed emit a token and start to decode."""
    inst = s.instances[i]
    r = inst.fill_head
    while r >= 0:
        q = s.requests[r]
        following = q.fill_next
        q.computed += q.chunk
        inst.backlog -= q.chunk
        inst.fill_context += q.chunk
        if s.settings[0].has_prefixes and q.chunk > 0:
            publish_prompt(s, i, r, now)
        q.chunk = 0
        if q.computed >= q.target:
            unlink_fill(s, i, r)
            inst.fill_context -= q.computed
            if not np.isnan(q.predicted):
                inst.predicted -= min(max(q.predicted - q.done, 0.0), 1.0)
            q.done += 1
            note_first_token(s, r, now)
            if inst.role == PREFILL and q.done < q.output:
                hand_over(s, i, r, now)
            else:
                start_decoding(s, i, r)
        r = following


@entry
def end_step(s: Sim, i: int, now: int) -> int:
    """The engine's steps ended: tokens out, requests finished; how many finished."""
    inst = s.instances[i]
    mode = inst.mode
    _advance(s, i, now)
    if mode == STEP:
        _finish_chunks(s, i, now)
    finished = 0
    while inst.done_root >= 0 and s.requests[inst.done_root].heap_key <= inst.count:
        _complete(s, i, inst.done_root, now)
        finished += 1
    return finished


@kernel
def holds_whole(s: Sim, i: int, r: int) -> bool:
    """Could the instance ever hold the request, prompt and output?"""
    inst, q = s.instances[i], s.requests[r]
    longest = min(inst.blocks_total * BLOCK_TOKENS, s.shapes[inst.shape].limit_tokens)
    return q.prompt + q.output <= longest


@kernel
def wake(s: Sim, i: int, now: int) -> None:
    """Blocks or a seat came free at `now`; an engine that only waited for that to go may go."""
    inst = s.instances[i]
    if inst.state == LEAVING and inst.running + inst.waiting + inst.kept == 0:
        push_event(s, now, DRAINED, i, inst.id)
    else:
        interrupt(s, i, now)


@kernel
def refuse(s: Sim, r: int, now: int) -> None:
    """Reject a request; KV that is kept for it is freed."""
    source = s.requests[r].source
    if source >= 0:
        free_source(s, r, now)
        wake(s, source, now)
    reject_request(s, r, now)


@kernel
def enqueue(s: Sim, i: int, r: int, now: int) -> None:
    """Hand a routed request to an engine; one it could never hold is rejected.

    Behind a head that already waits for room it changes nothing, and steps go on undisturbed.
    """
    q = s.requests[r]
    inst = s.instances[i]
    if not holds_whole(s, i, r):
        refuse(s, r, now)
        return
    arrive_at(s, i, r)
    q.computed = 0
    add_waiting(s, i, r)
    if inst.wait_root == r:
        interrupt(s, i, now)
