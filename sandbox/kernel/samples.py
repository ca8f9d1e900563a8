"""Parallel samples: start after the prompt, looks every few tokens, pruning, and early stop.

When a request that asks for samples has its first token, `branches` says how many to run. They
decode beside each other as sequences of one batch, each to its own length. Every so many tokens
the policy is asked again and may prune; as soon as enough have finished the rest are stopped.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.abi import FAILED
from sandbox.contract import MAX_BRANCHES
from sandbox.kernel.batch import enter_batch, start_decoding, stop_running
from sandbox.kernel.branches import branch_row, next_look
from sandbox.kernel.calls import BRANCHES, INVALID_DECISION, ask_engine, note_fault
from sandbox.kernel.heaps import heap_insert, heap_remove
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.ledger import finish_request
from sandbox.kernel.queues import arrive_at, leave, take_waiting
from sandbox.kernel.state import (
    BLOCK_TOKENS,
    ENDED,
    ENOUGH,
    HAS_FINISHED,
    PRUNED,
    QUEUED,
    RUNNING,
    Sim,
)
from sandbox.kernel.views import fill_request


@kernel
def _uniform(seed: int, draw: int) -> float:
    """In [0, 1): a hash of both, integers wrapping around at 64 bits."""
    z = np.int64(seed) * 0x2545F4914F6CDD1D + np.int64(draw + 1) * 0x1E3779B97F4A7C15
    z = (z ^ (z >> 29)) * 0x3F58476D1CE4E5B9
    z = (z ^ (z >> 32)) * 0x14D049BB133111EB
    return ((z ^ (z >> 31)) & (2**52 - 1)) / 2.0**52


@kernel
def _done(s: Sim, b: int) -> int:
    q = s.requests[b]
    if q.decoding:
        return q.done + s.instances[q.instance].count - q.enter_count
    return q.done


@kernel
def _score(s: Sim, p: int, k: int, tokens: int) -> float:
    """Quality with noise that is drawn anew at every look, and says nothing of what comes."""
    b = branch_row(s, p, k)
    draw = (tokens // s.settings[0].samples_every) * MAX_BRANCHES + k
    noise = 2.0 * _uniform(s.requests[p].seed, draw) - 1.0
    return s.samples[b].quality + s.settings[0].samples_noise * np.sqrt(3.0) * noise


@kernel
def _show(s: Sim, p: int, n: int) -> None:
    for k in range(n):
        b = branch_row(s, p, k)
        row, sample = s.branch_rows[k], s.samples[b]
        row.index = k
        row.done_tokens = _done(s, b)
        row.finished = sample.fate == HAS_FINISHED
        row.pruned = sample.fate == PRUNED
        row.score = _score(s, p, k, row.done_tokens)
    s.frame[0].branches = s.branch_rows.ctypes.data
    s.frame[0].n_branches = n


@kernel
def _ask(s: Sim, i: int, p: int, n: int, now: int) -> int:
    """The policy's word: how many samples to run; FAILED after a fault."""
    fill_request(s, p, now)
    _show(s, p, n)
    return ask_engine(s, BRANCHES, i)


@kernel
def _rekey(s: Sim, i: int, r: int) -> None:
    """Put a decoding sample where its next look or its end is."""
    inst, q, sample = s.instances[i], s.requests[r], s.samples[r]
    inst.done_root = heap_remove(s, inst.done_root, r)
    done, every = _done(s, r), s.settings[0].samples_every
    sample.look = 0
    if s.samples[sample.parent].started > 1 and s.settings[0].has_branches:
        sample.look = (done // every + 1) * every
    look = next_look(s, i, r) + q.done - done
    q.heap_key = min(float(inst.count + q.output - done), look)
    inst.done_root = heap_insert(s, inst.done_root, r)


@kernel
def _most(s: Sim, i: int, p: int) -> int:
    """Samples that the policy wants, or all that were asked for."""
    asked = s.samples[p].asked
    if not s.settings[0].has_branches:
        return asked
    answer = _ask(s, i, p, 0, s.totals[0].now)
    if answer == FAILED:
        return asked
    return min(max(answer, 1), asked)


@kernel
def _start_one(s: Sim, i: int, p: int, k: int) -> bool:
    """Sample `k` joins the batch with the first token of the prompt; False without room."""
    inst, q = s.instances[i], s.requests[p]
    shared = q.prompt // BLOCK_TOKENS
    own = (q.prompt + BLOCK_TOKENS - 1) // BLOCK_TOKENS - shared
    if inst.running + inst.incoming >= inst.max_seqs or own > inst.blocks_total - inst.blocks_used:
        return False
    b = branch_row(s, p, k)
    h, length = s.requests[b], s.samples[b].length
    h.entered, h.queued_at, h.first = q.entered, q.queued_at, q.first
    h.priority, h.sent_to, h.instance = q.priority, q.sent_to, i
    h.place = s.totals[0].places
    s.totals[0].places += 1
    h.last_instance, h.held, h.preempted, h.keyed = q.last_instance, 0, 0, 0
    h.predicted, h.predicted_error = q.predicted, q.predicted_error
    longest = min(inst.blocks_total * BLOCK_TOKENS, s.shapes[inst.shape].limit_tokens)
    h.output = min(length, longest - q.prompt)
    h.done = 0
    arrive_at(s, i, b)
    if not np.isnan(h.predicted):
        inst.predicted -= min(max(h.predicted, 0.0), 1.0)
    h.done = 1
    h.behind = q.behind
    h.held_segments = 0
    h.held_blocks = 0
    inst.blocks_used += own
    s.samples[b].shared = shared
    enter_batch(s, i, b)
    start_decoding(s, i, b)
    return True


@entry
def start_samples(s: Sim, i: int, p: int, now: int) -> int:
    """A request has its first token: start as many samples as wanted, and as there is room for."""
    group = s.samples[p]
    if group.parent != p or group.asked < 2 or group.started > 0:
        return 0
    most = _most(s, i, p)
    group.started = 1
    while group.started < most and _start_one(s, i, p, group.started):
        group.started += 1
    group.live = group.started
    group.finished = 0
    group.owner = p
    group.looked = now
    s.totals[0].samples_started += group.started
    for k in range(group.started):
        _rekey(s, i, branch_row(s, p, k))
    return 0


@kernel
def _end(s: Sim, i: int, b: int, fate: int) -> None:
    """One sample ends: it leaves the batch or the queue, and its KV is free."""
    q, group = s.requests[b], s.samples[s.samples[b].parent]
    if q.state == RUNNING:
        stop_running(s, i, b)
        leave(s, i, b)
    elif q.state == QUEUED:
        take_waiting(s, i, b)
        leave(s, i, b)
    q.state = ENDED
    s.samples[b].fate = fate
    group.live -= 1
    s.instances[i].asked = -1
    s.totals[0].sample_tokens += q.done
    if fate == PRUNED:
        s.totals[0].samples_pruned += 1


@kernel
def _close(s: Sim, i: int, p: int, now: int) -> int:
    """Enough samples have finished: stop the others, and the request is done."""
    group = s.samples[p]
    longest, behind = 0, s.requests[p].behind
    for k in range(group.started):
        b = branch_row(s, p, k)
        if s.samples[b].fate == 0:
            _end(s, i, b, ENOUGH)
        elif s.samples[b].fate == HAS_FINISHED and s.requests[b].output > longest:
            longest, behind = s.requests[b].output, s.requests[b].behind
    q = s.requests[p]
    q.output = longest  # what the service has seen; the recorded answer may have been stopped
    q.done = longest
    q.behind = behind
    s.instances[i].finished_tick += 1
    finish_request(s, p, now)
    return 1


@kernel
def _prune(s: Sim, i: int, p: int, most: int) -> None:
    """Stop what the policy marked, then the last ones beyond `most`; one live sample is left."""
    group = s.samples[p]
    for turn in range(2):
        for k in range(group.started - 1, -1, -1):
            b = branch_row(s, p, k)
            if s.samples[b].fate != 0:
                continue
            if (turn == 0 and s.branch_rows[k].pruned) or (turn == 1 and group.live > most):
                if group.live + group.finished > 1:
                    _end(s, i, b, PRUNED)
                else:
                    note_fault(s, BRANCHES, INVALID_DECISION)


@kernel
def _look(s: Sim, i: int, p: int, now: int) -> None:
    """Ask once at an instant, whichever of the samples is due."""
    group = s.samples[p]
    if group.looked == now:
        return
    group.looked = now
    answer = _ask(s, i, p, group.started, now)
    if answer != FAILED:
        _prune(s, i, p, max(answer, 0 if group.finished > 0 else 1))


@entry
def sample_stop(s: Sim, i: int, r: int, now: int) -> int:
    """A sample finished or is due for a look; 1 when its request is done."""
    p = s.samples[r].parent
    group = s.samples[p]
    if _done(s, r) >= s.requests[r].output:
        _end(s, i, r, HAS_FINISHED)
        group.finished += 1
    else:
        _look(s, i, p, now)
        if s.samples[r].fate == 0:
            _rekey(s, i, r)
    if group.finished >= min(s.settings[0].samples_needed, group.started) or group.live == 0:
        return _close(s, i, p, now)
    return 0
