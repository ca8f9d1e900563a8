"""What happened to requests: ends, first tokens, and the counters that a window is made from."""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.kernel.jit import kernel
from sandbox.kernel.lengths import learn_length
from sandbox.kernel.state import (
    FINISHED,
    HISTOGRAM_BINS,
    PS_PER_S,
    REJECTED,
    Sim,
)
from sandbox.kernel.workflows import reveal_children


@kernel
def length_bin(tokens: int) -> int:
    """Eighth-octave bin of a length."""
    if tokens < 1:
        return 0
    return min(int(8.0 * np.log2(float(tokens))), HISTOGRAM_BINS - 1)


@kernel
def _count_arrival(s: Sim, c: int, r: int, now: int) -> None:
    q, row = s.requests[r], s.class_stats[c]
    if row.last_arrival >= 0:
        gap = (now - row.last_arrival) / PS_PER_S
        row.gaps += 1
        row.gap_sum += gap
        row.gap_square += gap * gap
    row.last_arrival = now
    row.arrived += 1
    row.prompt_sum += q.prompt
    row.prompt_bins[length_bin(q.prompt)] += 1


@kernel
def note_arrival(s: Sim, r: int, now: int) -> None:
    """Count an arrival for the present window, under its class and under all."""
    _count_arrival(s, 0, r, now)
    _count_arrival(s, s.requests[r].class_id, r, now)


@kernel
def note_start(s: Sim, r: int) -> None:
    """A request enters a batch; its wait counts when it is the first time."""
    q = s.requests[r]
    if q.first >= 0 or q.preempted > 0:
        return
    waited = (s.totals[0].now - q.entered) / PS_PER_S
    everybody, mine = s.class_stats[0], s.class_stats[q.class_id]
    everybody.begun += 1
    everybody.queue_sum += waited
    mine.begun += 1
    mine.queue_sum += waited


@kernel
def note_first_token(s: Sim, r: int, now: int) -> None:
    """The first token of a request left the engine; later calls change nothing."""
    q = s.requests[r]
    if q.first < 0:
        q.first = now


@kernel
def _close(s: Sim, r: int, now: int) -> None:
    totals = s.totals[0]
    s.requests[r].finish = now
    totals.outstanding -= 1
    totals.last_finish = max(totals.last_finish, now)
    reveal_children(s, r, now)


@kernel
def _count_finish(s: Sim, c: int, r: int, now: int) -> None:
    q, row, limits = s.requests[r], s.class_stats[c], s.settings[0]
    ttft = (q.first - q.entered) / PS_PER_S
    tpot = (now - q.first) / PS_PER_S / max(q.output - 1, 1)
    e2e = (now - q.entered) / PS_PER_S
    k = q.class_id
    row.finished += 1
    row.output_sum += q.output
    row.output_bins[length_bin(q.output)] += 1
    row.ttft_sum += ttft
    row.tpot_sum += tpot
    row.e2e_sum += e2e
    if ttft <= limits.ttft_slo[k] and tpot <= limits.tpot_slo[k] and e2e <= limits.e2e_slo[k]:
        row.attained += 1


@kernel
def finish_request(s: Sim, r: int, now: int) -> None:
    """The last token is out."""
    q = s.requests[r]
    q.state = FINISHED
    s.totals[0].finished += 1
    _count_finish(s, 0, r, now)
    _count_finish(s, q.class_id, r, now)
    learn_length(s, r)
    _close(s, r, now)


@kernel
def reject_request(s: Sim, r: int, now: int) -> None:
    """Refused by the policy, or larger than any engine it was sent to."""
    q = s.requests[r]
    q.state = REJECTED
    s.totals[0].rejected += 1
    s.class_stats[0].rejected += 1
    s.class_stats[q.class_id].rejected += 1
    _close(s, r, now)
