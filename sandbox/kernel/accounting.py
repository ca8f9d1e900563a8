"""Who has the KV blocks that an engine says are in use: every block counted with its owner.

Between two events an engine's `blocks_used` is the sum of what its running requests have to
themselves, what it keeps for requests that decode elsewhere, what moves have reserved there, and
the cached blocks that somebody uses, which are counted once. A decode run is counted as of its
start, as `blocks_used` is, so the sum holds in the middle of a macro-step as well.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.jit import kernel
from sandbox.kernel.landing import BETWEEN, CALLED_OFF, COPYING, GOING, SETTLED, blocks_for
from sandbox.kernel.segments import block_width
from sandbox.kernel.state import ACTIVE, IDLE, LEAVING, RUNNING, Sim


@kernel
def _running_blocks(s: Sim, r: int) -> int:
    """Blocks that a running request has for itself on its instance."""
    q, inst = s.requests[r], s.instances[s.requests[r].instance]
    shared = q.held_blocks * block_width(s)
    if q.decoding:
        context = q.prompt + q.done + inst.count - q.enter_count
        # the latest token's KV is computed by the step in progress, where there is one
        blocks = blocks_for(context - 1 if inst.mode == IDLE else context)
        if s.settings[0].has_samples:
            blocks -= s.samples[r].shared
        return blocks - shared
    if q.landing != SETTLED and q.remote:
        return 0 if q.source == q.instance else q.blocks  # what is shared is so at the source
    return q.blocks - shared


@kernel
def _count_request(s: Sim, r: int) -> None:
    q = s.requests[r]
    if q.state == RUNNING:
        s.instances[q.instance].accounted += _running_blocks(s, r)
    if q.remote:
        shared = q.held_blocks * block_width(s)
        s.instances[q.source].accounted += q.source_blocks - shared
    if q.move_phase in (COPYING, GOING, BETWEEN, CALLED_OFF):
        to = s.instances[q.move_to]
        if to.id == q.move_id:
            to.accounted += q.reserved


@kernel
def blocks_accounted(s: Sim) -> bool:
    """Is every KV block in use somebody's, on every engine?"""
    for i in range(len(s.instances)):
        s.instances[i].accounted = 0
    for r in range(len(s.requests)):
        _count_request(s, r)
    for c in range(s.totals[0].cache_rows):
        row = s.cached[c]
        if row.users > 0:
            s.instances[row.instance].accounted += row.present * block_width(s)
    for i in range(len(s.instances)):
        inst = s.instances[i]
        serves = inst.state == ACTIVE or inst.state == LEAVING
        if serves and inst.accounted != inst.blocks_used:
            return False
    return True
