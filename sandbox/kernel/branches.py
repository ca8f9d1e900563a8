"""Parallel samples of one request: whose KV holds the prompt, and who is left on a lost engine.

Row k > 0 of a request's samples is a row of its own behind the trace's; sample 0 is the request
itself. All that started together share the KV of the prompt's whole blocks: the *owner* has them
in its account, the others only what lies behind. When the owner leaves the batch, another that
shares takes them over. A sample that is preempted computes the prompt again, for itself.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.kernel.jit import kernel
from sandbox.kernel.ledger import finish_request
from sandbox.kernel.state import ENDED, LOST, WAITING_ARRIVAL, Sim


@kernel
def branch_row(s: Sim, p: int, k: int) -> int:
    """Row of sample `k` of request `p`."""
    return p if k == 0 else s.samples[p].base + k - 1


@kernel
def is_sampled(s: Sim, r: int) -> bool:
    """Is the row one of several samples that have started?"""
    return s.settings[0].has_samples and s.samples[s.samples[r].parent].started > 0


@kernel
def next_look(s: Sim, i: int, r: int) -> float:
    """Step count at which the policy is asked about a decoding sample; infinite for none."""
    if not is_sampled(s, r) or s.samples[r].look == 0:
        return np.inf
    return float(s.instances[i].count + s.samples[r].look - s.requests[r].done)


@kernel
def pass_prompt_on(s: Sim, r: int) -> None:
    """A row leaves the batch: if it owns its samples' prompt, another that shares it takes it."""
    if not is_sampled(s, r):
        return
    p = s.samples[r].parent
    if s.samples[p].owner != r:
        return
    s.samples[p].owner = -1
    for k in range(s.samples[p].started):
        b = branch_row(s, p, k)
        if s.samples[b].shared > 0:
            _hand_over(s, r, b)
            s.samples[p].owner = b
            return


@kernel
def _hand_over(s: Sim, r: int, b: int) -> None:
    q, heir = s.requests[r], s.requests[b]
    s.samples[r].shared = s.samples[b].shared
    s.samples[b].shared = 0
    heir.held_segments = q.held_segments
    heir.held_blocks = q.held_blocks
    q.held_segments = 0
    q.held_blocks = 0


@kernel
def unshare(s: Sim, r: int) -> int:
    """KV blocks that a row did not have to itself; it leaves the batch and has none any more."""
    if not s.settings[0].has_samples:
        return 0
    shared = s.samples[r].shared
    s.samples[r].shared = 0
    return shared


@kernel
def lost_branch(s: Sim, r: int, now: int) -> int:
    """A row lost its engine: the request to route anew in its stead, -1 for none.

    The other samples go with it, one after the other. With an answer among those that had finished
    the request is done; without, it starts over.
    """
    if not is_sampled(s, r):
        return r
    p = s.samples[r].parent
    group = s.samples[p]
    s.requests[r].state = ENDED
    s.samples[r].fate = LOST
    group.live -= 1
    if group.live > 0:
        return -1
    if group.finished > 0:
        finish_request(s, p, now)
        return -1
    _forget(s, p)
    return p


@kernel
def _forget(s: Sim, p: int) -> None:
    group = s.samples[p]
    for k in range(group.started):
        b = branch_row(s, p, k)
        s.samples[b].fate = 0
        s.samples[b].look = 0
        q = s.requests[b]
        q.state = WAITING_ARRIVAL
        q.done = 0
        q.computed = 0
        q.chunk = 0
    group.started = 0
    s.requests[p].preempted += 1
