"""Workflows: a call is revealed its think time after the last of its parents has ended.

A parent that was rejected has ended too: what it would have answered is not modelled, so its
children come as if it had, and each is charged on its own. What a workflow has done so far stands
in the row of its first call. Predictions of what is left are the lengths alone on the fastest
shape along the critical path, with the predictor's error (see simulation.py), never the truth.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.kernel.heaps import push_event
from sandbox.kernel.jit import kernel
from sandbox.kernel.state import FINISHED, PS_PER_S, REVEAL, Sim


@kernel
def _reveal(s: Sim, child: int, now: int) -> None:
    think = 0 if s.settings[0].backlog else s.requests[child].think
    s.totals[0].outstanding += 1
    push_event(s, now + think, REVEAL, -1, child)


@kernel
def reveal_children(s: Sim, r: int, now: int) -> None:
    """A call ended: count it for its workflow, and reveal whom nothing else holds back."""
    if not s.settings[0].has_workflows:
        return
    q = s.requests[r]
    first = s.requests[q.root]
    first.workflow_done += 1
    if q.state == FINISHED:
        first.workflow_served += (now - q.entered) / PS_PER_S
    for k in range(s.edge_offsets[r], s.edge_offsets[r + 1]):
        child = s.edge_rows[k]
        c = s.requests[child]
        if q.prefill_id >= 0:
            c.last_instance = q.prefill_id  # what is cached of its prompt is there
        elif q.instance >= 0:
            c.last_instance = s.instances[q.instance].id
        c.pending -= 1
        if c.pending == 0:
            _reveal(s, child, now)


@kernel
def show_workflow(s: Sim, r: int, now: int) -> None:
    """The workflow's part of the contract's Request, into `request_row`."""
    q, v = s.requests[r], s.request_row[0]
    first = s.requests[q.root]
    v.workflow = q.workflow
    v.workflow_done_calls = first.workflow_done
    v.workflow_age_s = (now - first.workflow_start) / PS_PER_S
    v.workflow_served_s = first.workflow_served
    v.workflow_remaining_s = np.nan
    v.workflow_horizon_s = np.nan
    if s.settings[0].has_horizons:
        row = s.samples[r].parent if s.settings[0].has_samples else r
        v.workflow_remaining_s = s.horizons[row, 0]
        v.workflow_horizon_s = s.horizons[row, 1]
