"""One engine: vLLM V1's continuous batching, macro-stepped while it only decodes.

A step is formed in vLLM V1's order: running requests first, one token each for those that decode
and a chunk for those whose prompt is being computed; whoever finds no free KV block makes the
engine preempt the lowest, which may be itself (`preemption.py`). Then, unless somebody was
preempted, waiting requests are let in as far as token budget, `max_num_seqs` and blocks go. While
no prompt is being computed, steps differ only by one token per sequence, so k of them take a
closed form: k * base + slope * (k * context + batch * k * (k - 1) / 2).

What differs from vLLM V1 (its scheduler as of 2026):
- decoding requests always get their token; vLLM refuses a budget below `max_num_seqs` at its start;
- when in priority mode the lowest is in the middle of the running list and preempts itself, vLLM
  leaves out those behind it for a step: here this holds for prompts, decoding ones go on;
- the token that a preempted decoding request gives back is not handed on within the step;
- priority is re-keyed only while a request waits, ties go by arrival at the engine;
- the output of a step is known when it ends; vLLM's asynchronous scheduling is in the overhead;
- speculation rests in steps that also compute prompts, and reserves no look-ahead blocks.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.contract import PREFILL
from sandbox.kernel.batch import start_decoding, stop_running, unlink_fill
from sandbox.kernel.branches import is_sampled
from sandbox.kernel.chunks import fill_chunks
from sandbox.kernel.evict import make_room
from sandbox.kernel.heaps import push_event, set_instance_event
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.knobs import PLAIN, STRETCH_BITS, apply_knobs
from sandbox.kernel.ledger import finish_request, note_first_token, reject_request
from sandbox.kernel.preemption import edge_blocks, give_decode_blocks
from sandbox.kernel.prefix import publish_prompt
from sandbox.kernel.queues import add_waiting, arrive_at, leave, queue_head
from sandbox.kernel.readers import see_run, see_token
from sandbox.kernel.runs import cut_run, run_blocks, run_length_ps, steps_with_blocks
from sandbox.kernel.samples import sample_stop, start_samples
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
from sandbox.kernel.transfer import free_source, hand_over, join_landed

SPREAD_BITS = 10  # `length_spread` counts 1 / 1024


@kernel
def _spread_ps(s: Sim, i: int) -> int:
    """What the longest context adds to a step over as many of mean length.

    Attention work is dealt out in pieces, and a step waits for the longest: `length_spread` is
    the share of that wait that the kernels do not hide.
    """
    inst = s.instances[i]
    longest = 0
    r = inst.run_head
    while r >= 0:
        q = s.requests[r]
        if q.decoding:
            longest = max(longest, q.prompt + q.done - q.enter_count)
        r = q.list_next
    excess = inst.decoding * (longest + inst.count) - inst.context
    return ((inst.slope * s.settings[0].length_spread) >> SPREAD_BITS) * excess


@kernel
def _set_pace(s: Sim, i: int) -> None:
    """Time of the next step: `base` and, for every token of context, `slope`."""
    inst, b = s.instances[i], s.instances[i].decoding
    overhead = s.shapes[inst.shape].step_overhead
    inst.slope = s.step_context[inst.shape, b]
    if inst.prefill > 0:
        inst.base = overhead + inst.prefill + s.step_mixed[inst.shape, b]
    elif inst.depth == 0:
        inst.base = overhead + s.step_batch[inst.shape, b]
    else:
        row = inst.shape * s.settings[0].max_depth + inst.depth - 1
        inst.base = s.spec_batch[row, b]
        inst.slope = s.spec_context[row, b]
    if s.settings[0].length_spread > 0 and b > 1:
        inst.base += _spread_ps(s, i)
    if inst.stretch != PLAIN:
        inst.base = (inst.base * inst.stretch) >> STRETCH_BITS
        inst.slope = (inst.slope * inst.stretch) >> STRETCH_BITS
    inst.base += inst.swapping


@kernel
def _steps_ahead(s: Sim, i: int, changed: bool) -> int:
    """Decode steps until somebody finishes, blocks run out, or the queue's head may come in."""
    inst = s.instances[i]
    if changed or not s.settings[0].macro:
        return 1
    most = int(s.requests[inst.done_root].heap_key) - inst.count
    free = inst.blocks_total - inst.blocks_used + edge_blocks(s, i)
    if inst.waiting > 0 and not s.settings[0].reserve:
        free -= inst.blocks_cached  # an eviction may let the head of the queue in
    return max(steps_with_blocks(s, i, free, most), 1)


@entry
def begin(s: Sim, i: int, now: int) -> int:
    """Form the next batch at `now`, or go idle."""
    inst = s.instances[i]
    if inst.landed_head >= 0:
        join_landed(s, i)
    if inst.retuned:
        apply_knobs(s, i, now)
    inst.swapping = 0
    preempted = give_decode_blocks(s, i)
    shut = preempted or inst.flipping
    if fill_chunks(s, i, 0 if shut else 1) == 1:
        preempted = True
    again = preempted
    while again and inst.prefill == 0 and inst.decoding == 0:
        # nobody is left to run: as good as the next step
        again = fill_chunks(s, i, 0 if inst.flipping else 1) == 1
    inst.started = now
    inst.mode = STEP
    cached = inst.blocks_cached
    make_room(s, i, now)
    if inst.prefill == 0 and inst.decoding == 0:
        inst.mode = IDLE
        inst.ends = NEVER
        set_instance_event(s, i, NEVER)
        return 0
    inst.swapping += inst.hooks + max(inst.warm_until - now, 0)
    inst.hooks = 0
    _set_pace(s, i)
    inst.steps = 1
    if inst.prefill > 0:
        inst.ends = now + inst.base + inst.slope * inst.context
    else:
        inst.mode = RUN
        # what was preempted or evicted may let the head of the queue in next time
        evicted = inst.blocks_cached != cached and not s.settings[0].reserve
        changed = inst.waiting > 0 and (preempted or evicted)
        inst.steps = _steps_ahead(s, i, changed or inst.swapping > 0)
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
    else:
        cut_run(s, i, now)
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
    see_run(s, i, k, now)
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
            see_token(s, r, now)
            if inst.role == PREFILL and q.done < q.output:
                hand_over(s, i, r, now)
            else:
                start_decoding(s, i, r)
                if s.settings[0].has_samples:
                    start_samples(s, i, r, now)
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
        if s.settings[0].has_samples and is_sampled(s, inst.done_root):
            finished += sample_stop(s, i, inst.done_root, now)
        else:
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
    if not holds_whole(s, i, r):
        refuse(s, r, now)
        return
    arrive_at(s, i, r)
    q.computed = 0
    q.place = s.totals[0].places
    s.totals[0].places += 1
    add_waiting(s, i, r)
    if queue_head(s, i) == r:
        interrupt(s, i, now)
