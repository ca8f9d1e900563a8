"""One engine: vLLM-style continuous batching with chunked prefill, macro-stepped while it decodes.

A step first gives every decoding sequence a KV block if it needs one (preempting by recompute
when there is none), then prompt chunks to running requests, then admits waiting ones, all within
the token budget. While no prompt is being computed, steps differ only by one token per sequence,
so k of them take a closed form: k * base + slope * (k * context + batch * k * (k - 1) / 2).
"""

from __future__ import annotations

import numpy as np

from sandbox.kernel.calls import ask_admit
from sandbox.kernel.heaps import heap_insert, heap_remove, set_instance_event
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.ledger import finish_request, note_first_token, reject_request
from sandbox.kernel.prefix import (
    make_room,
    matching_blocks,
    publish_blocks,
    release_blocks,
    take_blocks,
    unused_among,
)
from sandbox.kernel.runs import run_blocks, run_length_ps, steps_done, steps_with_blocks
from sandbox.kernel.state import (
    ACTIVE,
    BLOCK_TOKENS,
    IDLE,
    LEAVING,
    NEVER,
    QUEUED,
    RUN,
    RUNNING,
    STEP,
    Sim,
)


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
def _link_running(s: Sim, i: int, r: int) -> None:
    inst, q = s.instances[i], s.requests[r]
    q.list_next = -1
    q.list_prev = inst.run_tail
    if inst.run_tail >= 0:
        s.requests[inst.run_tail].list_next = r
    else:
        inst.run_head = r
    inst.run_tail = r


@kernel
def _unlink_running(s: Sim, i: int, r: int) -> None:
    inst, q = s.instances[i], s.requests[r]
    if q.list_prev >= 0:
        s.requests[q.list_prev].list_next = q.list_next
    else:
        inst.run_head = q.list_next
    if q.list_next >= 0:
        s.requests[q.list_next].list_prev = q.list_prev
    else:
        inst.run_tail = q.list_prev


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
    inst.waiting_prompt += q.prompt + q.done


@kernel
def take_waiting(s: Sim, i: int, r: int) -> None:
    """Remove a request from the instance's queue."""
    inst, q = s.instances[i], s.requests[r]
    inst.wait_root = heap_remove(s, inst.wait_root, r)
    _unlink_waiting(s, i, r)
    inst.waiting -= 1
    inst.waiting_prompt -= q.prompt + q.done


@kernel
def arrive_at(s: Sim, i: int, r: int) -> None:
    """Count a request as work of this instance."""
    inst, q = s.instances[i], s.requests[r]
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
    if not q.online:
        inst.offline -= 1
    if not np.isnan(q.predicted):
        inst.predicted = max(inst.predicted - max(q.predicted - q.done, 0.0), 0.0)
    if inst.waiting + inst.running == 0:
        inst.predicted = 0.0


@kernel
def _start_running(s: Sim, i: int, r: int) -> None:
    inst, q = s.instances[i], s.requests[r]
    take_waiting(s, i, r)
    q.state = RUNNING
    q.decoding = False
    _link_running(s, i, r)
    inst.running += 1
    q.fill_next = -1
    if inst.fill_tail >= 0:
        s.requests[inst.fill_tail].fill_next = r
    else:
        inst.fill_head = r
    inst.fill_tail = r
    inst.filling += 1
    inst.backlog += q.target - q.computed
    inst.fill_context += q.computed


@kernel
def _unlink_fill(s: Sim, i: int, r: int) -> None:
    inst = s.instances[i]
    before = -1
    k = inst.fill_head
    while k != r:
        before = k
        k = s.requests[k].fill_next
    after = s.requests[r].fill_next
    if before >= 0:
        s.requests[before].fill_next = after
    else:
        inst.fill_head = after
    if inst.fill_tail == r:
        inst.fill_tail = before
    inst.filling -= 1


@kernel
def _start_decoding(s: Sim, i: int, r: int) -> None:
    """The prompt is computed and the first token out: join the decoding batch."""
    inst, q = s.instances[i], s.requests[r]
    q.decoding = True
    q.enter_count = inst.count
    q.heap_key = float(inst.count + q.output - q.done)
    q.heap_seq = q.order
    inst.done_root = heap_insert(s, inst.done_root, r)
    inst.decoding += 1
    inst.context += q.prompt + q.done
    inst.entered_context += q.prompt + q.done
    inst.bins[(q.prompt + q.done - inst.count) % BLOCK_TOKENS] += 1


@kernel
def _stop_decoding(s: Sim, i: int, r: int) -> None:
    """Leave the decoding batch; `done` is brought up to date."""
    inst, q = s.instances[i], s.requests[r]
    inst.bins[(q.prompt + q.done - q.enter_count) % BLOCK_TOKENS] -= 1
    inst.entered_context -= q.prompt + q.done
    stepped = inst.count - q.enter_count
    if not np.isnan(q.predicted):
        inst.predicted -= max(q.predicted - q.done, 0.0)
    q.done += np.int32(stepped)
    if not np.isnan(q.predicted):
        inst.predicted += max(q.predicted - q.done, 0.0)
    q.blocks = (q.prompt + q.done - 1 + BLOCK_TOKENS - 1) // BLOCK_TOKENS
    inst.done_root = heap_remove(s, inst.done_root, r)
    inst.decoding -= 1
    inst.context -= q.prompt + q.done
    q.decoding = False


@kernel
def _free_blocks(s: Sim, i: int, r: int) -> None:
    inst, q = s.instances[i], s.requests[r]
    if q.held_blocks > 0:
        width = s.settings[0].block_tokens // BLOCK_TOKENS
        inst.blocks_used -= q.blocks - q.held_blocks * width
        release_blocks(s, i, r)
    else:
        inst.blocks_used -= q.blocks
    q.blocks = 0


@kernel
def stop_running(s: Sim, i: int, r: int) -> None:
    """Take a running request off the instance and free its KV blocks."""
    inst, q = s.instances[i], s.requests[r]
    if q.decoding:
        _stop_decoding(s, i, r)
    else:
        _unlink_fill(s, i, r)
        inst.backlog -= q.target - q.computed
        inst.fill_context -= q.computed
    _unlink_running(s, i, r)
    inst.running -= 1
    _free_blocks(s, i, r)


@entry
def preempt(s: Sim, i: int, r: int) -> int:
    """Preempt by recompute: KV is dropped, prompt and output are computed again later."""
    inst, q = s.instances[i], s.requests[r]
    stop_running(s, i, r)
    q.preempted += 1
    q.computed = 0
    q.chunk = 0
    inst.preemptions += 1
    s.totals[0].preemptions += 1
    s.class_stats[q.class_id].preempted += 1
    s.class_stats[0].preempted += 1
    add_waiting(s, i, r)
    return 0


@kernel
def _lowest_decoding(s: Sim, i: int) -> int:
    """The decoding request to preempt first: highest priority value, then the newest."""
    worst = -1
    r = s.instances[i].run_head
    while r >= 0:
        q = s.requests[r]
        if q.decoding and (
            worst < 0
            or q.priority > s.requests[worst].priority
            or (q.priority == s.requests[worst].priority and q.order > s.requests[worst].order)
        ):
            worst = r
        r = q.list_next
    return worst


@kernel
def _give_decode_blocks(s: Sim, i: int) -> bool:
    """One new block for each sequence at a block edge; True when somebody was preempted."""
    inst = s.instances[i]
    preempted = False
    while inst.decoding > 0:
        need = inst.bins[(1 - inst.count) % BLOCK_TOKENS]
        if need <= inst.blocks_total - inst.blocks_used:
            inst.blocks_used += need
            break
        preempt(s, i, _lowest_decoding(s, i))
        preempted = True
    return preempted


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
    matched, unused = 0, 0
    if s.settings[0].has_prefixes:
        matched = matching_blocks(s, i, r)
        unused = unused_among(s, i, r, matched)
    width = s.settings[0].block_tokens // BLOCK_TOKENS
    cached = matched * s.settings[0].block_tokens
    chunk = min(q.target - cached, budget)
    blocks = (cached + chunk + BLOCK_TOKENS - 1) // BLOCK_TOKENS - matched * width
    if blocks + unused * width > inst.blocks_total - inst.blocks_used:
        return False
    take_blocks(s, i, r, matched)
    q.blocks = matched * width
    q.computed = cached
    s.totals[0].cached_tokens += cached
    s.totals[0].prompt_tokens += q.target
    s.class_stats[0].cached_sum += cached
    s.class_stats[q.class_id].cached_sum += cached
    _start_running(s, i, r)
    return True


@kernel
def _chunk_ps(s: Sim, shape: int, chunk: int, prefix: int) -> int:
    p = s.shapes[shape]
    work = p.attention_prefix * prefix + p.attention_chunk * chunk + p.attention_linear
    return (work * chunk) >> 10


@kernel
def _admitted(s: Sim, i: int, r: int) -> bool:
    """The policy's word on the head of the queue, asked anew when head or free KV changed."""
    inst = s.instances[i]
    if inst.refused == r and inst.refused_finished == inst.finished:
        return False
    if ask_admit(s, i, r):
        inst.refused = -1
        return True
    inst.refused = r
    inst.refused_finished = inst.finished
    return False


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
    while admit == 1 and inst.wait_root >= 0 and tokens < budget and inst.running < inst.max_seqs:
        r = inst.wait_root
        if s.settings[0].has_admit and not _admitted(s, i, r):
            break
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
        preempt(s, i, inst.run_tail)


@entry
def begin(s: Sim, i: int, now: int) -> int:
    """Form the next batch at `now`, or go idle."""
    inst = s.instances[i]
    budget = min(inst.token_budget, s.step_tokens.shape[1] - 1)
    preempted = _give_decode_blocks(s, i)
    tokens = fill_chunks(s, i, budget - inst.decoding, 0 if preempted else 1)
    while tokens == 0 and inst.decoding == 0 and inst.filling > 1:
        _unblock_prefill(s, i)
        tokens = fill_chunks(s, i, budget, 0)
    inst.started = now
    inst.mode = STEP
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
        most = np.int64(s.requests[inst.done_root].heap_key) - inst.count
        if preempted or not s.settings[0].macro:
            most = 1  # nobody was admitted in this step, so the next one asks again
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
    if inst.state != ACTIVE and inst.state != LEAVING:
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


@kernel
def _complete(s: Sim, i: int, r: int, now: int) -> None:
    stop_running(s, i, r)
    leave(s, i, r)
    s.instances[i].finished += 1
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
        q.chunk = 0
        if q.computed >= q.target:
            _unlink_fill(s, i, r)
            inst.fill_context -= q.computed
            if s.settings[0].has_prefixes:
                publish_blocks(s, i, r)
            if not np.isnan(q.predicted):
                inst.predicted -= min(max(q.predicted - q.done, 0.0), 1.0)
            q.done += 1
            note_first_token(s, r, now)
            _start_decoding(s, i, r)
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
def enqueue(s: Sim, i: int, r: int, now: int) -> bool:
    """Hand a routed request to an engine; one it could never hold is rejected: False."""
    q = s.requests[r]
    inst = s.instances[i]
    longest = min(inst.blocks_total * BLOCK_TOKENS, s.shapes[inst.shape].limit_tokens)
    if q.prompt + q.output > longest:
        reject_request(s, r, now)
        return False
    arrive_at(s, i, r)
    q.computed = 0
    add_waiting(s, i, r)
    return True


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

