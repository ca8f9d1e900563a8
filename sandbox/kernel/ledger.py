"""What happened to requests: ends, first tokens, and the counters that a window is made from."""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.kernel.jit import kernel
from sandbox.kernel.lengths import learn_length
from sandbox.kernel.state import (
    FINISHED,
    PS_PER_S,
    REJECTED,
    Sim,
)
from sandbox.kernel.workflows import reveal_children
from sandbox.summary import count_arrival, count_finished, count_rejected


@kernel
def note_arrival(s: Sim, r: int, now: int) -> None:
    """Count an arrival for the present window, as long as the door takes it to be."""
    q = s.requests[r]
    count_arrival(s.sums, s.latest_arrival, q.class_id, now / PS_PER_S, q.told_prompt)


@kernel
def note_start(s: Sim, r: int, cached: int) -> None:
    """A request enters a batch; when, and what it found cached, counts the first time."""
    q = s.requests[r]
    if q.began < 0:
        q.began = s.totals[0].now
        q.found = cached


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
def _since_entry(s: Sim, r: int, at: int) -> float:
    """Seconds, NaN when it never happened; as a log has it that a window is made from again."""
    return (at - s.requests[r].entered) / PS_PER_S if at >= 0 else np.nan


@kernel
def _count_finish(s: Sim, r: int, now: int) -> None:
    q, limits = s.requests[r], s.settings[0]
    k = q.class_id
    count_finished(
        s.sums,
        k,
        q.prompt,
        q.found if q.began >= 0 else -1,
        q.output,
        _since_entry(s, r, q.began),
        _since_entry(s, r, q.first),
        _since_entry(s, r, now),
        limits.ttft_slo[k],
        limits.tpot_slo[k],
        limits.e2e_slo[k],
    )


@kernel
def finish_request(s: Sim, r: int, now: int) -> None:
    """The last token is out."""
    q = s.requests[r]
    q.state = FINISHED
    s.totals[0].finished += 1
    _count_finish(s, r, now)
    learn_length(s, r)
    _close(s, r, now)


@kernel
def reject_request(s: Sim, r: int, now: int) -> None:
    """Refused by the policy, or larger than any engine it was sent to."""
    q = s.requests[r]
    q.state = REJECTED
    s.totals[0].rejected += 1
    count_rejected(s.sums, q.class_id)
    _close(s, r, now)
