"""The running batch of an instance: who is in it, who computes a prompt, who decodes."""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.kernel.branches import next_look, pass_prompt_on, unshare
from sandbox.kernel.heaps import heap_insert, heap_remove
from sandbox.kernel.jit import kernel
from sandbox.kernel.landing import COPYING, GOING, SETTLED, call_off, stop_landing
from sandbox.kernel.prefix import publish_answer, release_blocks
from sandbox.kernel.queues import take_waiting
from sandbox.kernel.readers import start_reading, stop_reading
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
    else:
        s.instances[i].offline_running += 1


@kernel
def leave_seat(s: Sim, i: int, r: int) -> None:
    """Give the seat in the batch up."""
    _unlink_running(s, i, r)
    s.instances[i].running -= 1
    if s.requests[r].online:
        s.instances[i].class_running[s.requests[r].class_id] -= 1
    else:
        s.instances[i].offline_running -= 1


@kernel
def start_running(s: Sim, i: int, r: int) -> None:
    """A waiting request joins the batch, neither computing its prompt nor decoding yet."""
    take_waiting(s, i, r)
    enter_batch(s, i, r)


@kernel
def start_filling(s: Sim, i: int, r: int) -> None:
    """Join those that compute their prompt, from token `computed` up to `target`."""
    inst, q = s.instances[i], s.requests[r]
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
    """The prompt is computed and a token out, or KV is back: join the decoding batch."""
    inst, q = s.instances[i], s.requests[r]
    q.decoding = True
    q.enter_count = inst.count
    q.heap_key = float(inst.count + q.output - q.done)
    if s.settings[0].has_samples:
        q.heap_key = min(q.heap_key, next_look(s, i, r))
    q.heap_seq = q.order
    start_reading(s, i, r)
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
    stop_reading(s, i, r)
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
    inst.blocks_used += unshare(s, r)
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
        if q.answer_blocks > 0 and q.done >= q.output:
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
    pass_prompt_on(s, r)
    if not s.requests[r].remote:
        free_blocks(s, i, r)
