"""The requests that fared worst on a window under a policy, in numbers and nothing else.

A proposer sees from them what a mean hides: the long prompt behind which others waited, the answer
that was preempted again and again. No name, identifier or text of a trace is in them.
"""

from __future__ import annotations

import numpy as np

from sandbox.hardware import Hardware
from sandbox.kernel.state import FINISHED, PS_PER_S, REJECTED
from sandbox.simulation import Outcome
from sandbox.workflows import unloaded_parts_s
from telemetry.trace import Trace

SLOWEST = 3  # by seconds beyond what they take alone; and the slowest of all by that ratio


def remarks(outcome: Outcome, trace: Trace, hardware: Hardware, warmup_s: float) -> tuple[str, ...]:
    """Up to four lines, the request that lost most time first; times are of the measured part."""
    rows = np.flatnonzero(outcome.entered >= round(warmup_s * PS_PER_S))
    if len(rows) == 0:
        return ()
    prefill_s, decode_s = unloaded_parts_s(trace, hardware)
    alone_s = (prefill_s + decode_s)[rows]
    end = int(outcome.totals["integrated"])
    until = np.where(outcome.finish[rows] >= 0, outcome.finish[rows], end)
    took_s = (until - outcome.entered[rows]) / PS_PER_S
    lost = outcome.state[rows] != FINISHED
    slowest = np.lexsort((rows, alone_s - took_s, ~lost))[:SLOWEST]
    steepest = int(np.lexsort((rows, -took_s / alone_s))[0])
    chosen = dict.fromkeys([*slowest.tolist(), steepest])
    return tuple(
        _line(outcome, trace, int(rows[k]), took_s[k], alone_s[k], prefill_s[rows[k]], warmup_s)
        for k in chosen
    )


def _line(
    outcome: Outcome,
    trace: Trace,
    row: int,
    took_s: float,
    alone_s: float,
    prefill_s: float,
    warmup_s: float,
) -> str:
    entered_s = outcome.entered[row] / PS_PER_S
    first = outcome.first[row]
    told = "no token"
    if first >= 0:
        ttft_s = first / PS_PER_S - entered_s
        told = f"waited {max(ttft_s - prefill_s, 0.0):.3g} s, first token after {ttft_s:.3g} s"
    state = int(outcome.state[row])
    ended = f"{'rejected' if state == REJECTED else 'unfinished'} after {took_s:.3g} s"
    if state == FINISHED:
        ended = f"{took_s:.3g} s in all, {took_s / alone_s:.3g} times as long as alone"
    place = f"engine {outcome.engine[row]}" if outcome.engine[row] >= 0 else "on no engine"
    return (
        f"at {entered_s - warmup_s:.1f} s, prompt {trace.prompt_tokens[row]}, answer "
        f"{trace.output_tokens[row]} tokens: {told}, {ended}; {place}, preempted "
        f"{outcome.preempted[row]}, held {outcome.held[row]}, moved {outcome.moved[row]}"
    )
