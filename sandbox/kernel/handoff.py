"""What handing a request over will cost, as a router can tell from its view of decode engines.

Transfer over idle links, plus the wait for KV room there: the tokens that are too many, over the
rate at which finishing requests free KV. Known only where outputs are predicted.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.kernel.jit import kernel
from sandbox.kernel.links import transfer_ps
from sandbox.kernel.state import PS_PER_S, Sim


@kernel
def room_wait_s(s: Sim, table: int, j: int, r: int, tokens: int) -> float:
    """Wait for `tokens` of free KV on an engine seen in row `j`: its excess over its turnover.

    The batch turns its KV over once in the time its predicted remaining tokens take.
    """
    row = s.router_rows[table, j]
    excess = row.kv_used_tokens + (row.queued_requests + 1) * tokens - row.kv_capacity_tokens
    if excess <= 0:
        return 0.0
    if np.isnan(s.requests[r].predicted) or row.decoding_requests == 0:
        return np.nan
    return (
        excess / max(row.kv_used_tokens, 1)
        * row.predicted_remaining_tokens / row.decode_tokens_per_s
    )  # fmt: skip


@kernel
def handoff_s(s: Sim, i: int, table: int, r: int) -> float:
    """Soonest hand-over from instance `i` to an engine of the table; NaN when nobody decodes."""
    tokens = s.requests[r].prompt + s.requests[r].done
    best = np.nan
    for j in range(s.router_counts[table]):
        there = s.router_slots[table, j]
        cost = transfer_ps(s, i, there, tokens) / PS_PER_S + room_wait_s(s, table, j, r, tokens)
        if cost == cost and not best <= cost:
            best = cost
    return best
