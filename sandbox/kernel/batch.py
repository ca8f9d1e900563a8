"""The running batch of an instance: who is in it, its KV blocks, and preemption by recompute."""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.kernel.heaps import heap_insert, heap_remove
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.landing import COPYING, GOING, SETTLED, call_off, stop_landing
from sandbox.kernel.prefix import publish_answer, release_blocks
from sandbox.kernel.queues import add_waiting, take_waiting
from sandbox.kernel.state import BLOCK_TOKENS, RUNNING, Sim


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
def enter_batch(s: Sim, i: int, r: int) -> None:
    """Take a seat in the batch."""
    q = s.requests[r]
    q.state = RUNNING
    q.instance = i
    q.decoding = False
    _link_running(s, i, r)
    s.instances[i].running += 1
    if q.online:
        s.instances[i].class_running[q.class_id] += 1


@kernel
def leave_seat(s: Sim, i: int, r: int) -> None:
    """Give the seat in the batch up."""
    _unlink_running(s, i, r)
    s.instances[i].running -= 1
    if s.requests[r].online:
        s.instances[i].class_running[s.requests[r].class_id] -= 1


@kernel
def start_running(s: Sim, i: int, r: int) -> None:
    """The head of the queue joins the batch and computes its prompt."""
    inst, q = s.instances[i], s.requests[r]
    take_waiting(s, i, r)
    enter_batch(s, i, r)
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
def unlink_fill(s: Sim, i: int, r: int) -> None:
    """Take a request off the list of those that compute their prompt."""
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
def start_decoding(s: Sim, i: int, r: int) -> None:
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
def free_blocks(s: Sim, i: int, r: int) -> None:
    """Free the KV blocks of a request, shared ones for others to find."""
    inst, q = s.instances[i], s.requests[r]
    if q.held_segments > 0:
        width = s.settings[0].block_tokens // BLOCK_TOKENS
        inst.blocks_used -= q.blocks - q.held_blocks * width
        release_blocks(s, i, r, s.totals[0].now)
    else:
        inst.blocks_used -= q.blocks
    q.blocks = 0


@kernel
def leave_batch(s: Sim, i: int, r: int) -> None:
    """Take a running request out of the batch; its KV blocks are still its own."""
    inst, q = s.instances[i], s.requests[r]
    if q.move_phase == COPYING or q.move_phase == GOING:
        call_off(s, r)
    if q.decoding:
        _stop_decoding(s, i, r)
        if q.answer_count > 0 and q.done >= q.output:
            publish_answer(s, i, r, s.totals[0].now)
    elif q.landing != SETTLED:
        stop_landing(s, i, r)
    else:
        unlink_fill(s, i, r)
        inst.backlog -= q.target - q.computed
        inst.fill_context -= q.computed
    leave_seat(s, i, r)


@kernel
def stop_running(s: Sim, i: int, r: int) -> None:
    """Take a running request off the instance and free its KV blocks."""
    leave_batch(s, i, r)
    if not s.requests[r].remote:
        free_blocks(s, i, r)


@entry
def preempt(s: Sim, i: int, r: int) -> int:
    """Preempt by recompute: KV is dropped, prompt and output are computed again later."""
    inst, q = s.instances[i], s.requests[r]
    stop_running(s, i, r)
    q.preempted += 1
    q.computed = 0
    q.chunk = 0
    inst.preemptions += 1
    inst.asked = -1
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
def give_decode_blocks(s: Sim, i: int) -> bool:
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
