"""What requests took, beside the trace that they make: the same rows in the same order."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from telemetry.engine_timings import EngineTimings
from telemetry.errors import ReadError
from telemetry.request_traces import answered_tokens, timings_of, trace_of
from telemetry.requests import CLIENT_ERROR, OK, Requests
from telemetry.trace import Trace

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Observed:
    """Requests that were served, and what they took; arrays of shape (n,), NaN where unknown.

    Attributes:
        trace: all that asked for an answer; arrivals in seconds from the first.
        ttft_s, e2e_s: from arrival to the first and the last token. Only whole answers have times,
            only streams a first token.
        began_unix_s: of the first arrival.
    """

    trace: Trace
    ttft_s: Floats
    e2e_s: Floats
    began_unix_s: float = 0.0

    def __len__(self) -> int:
        return len(self.e2e_s)

    @property
    def tpot_s(self) -> Floats:
        """Mean gap between later tokens; NaN for a single token."""
        later = np.where(self.trace.output_tokens > 1, self.trace.output_tokens - 1.0, np.nan)
        return np.asarray((self.e2e_s - self.ttft_s) / later)

    def faster(self, speed: float) -> Observed:
        """The same by a clock that goes `speed` times as fast, as that of emulated engines does."""
        if speed == 1.0:
            return self
        trace = replace(
            self.trace, arrival_s=self.trace.arrival_s * speed, think_s=self.trace.think_s * speed,
            span_s=self.trace.span_s * speed,
        )  # fmt: skip
        return replace(self, trace=trace, ttft_s=self.ttft_s * speed, e2e_s=self.e2e_s * speed)


def observed(requests: Requests) -> Observed:
    """Requests in any order as a trace with times.

    Raises:
        ReadError: none of them was answered.
    """
    asked = requests.take(requests.outcome != CLIENT_ERROR)
    kept = np.flatnonzero(answered_tokens(asked) > 0)
    if not len(kept):
        raise ReadError("There is no answered request: let the fleet serve for longer.")
    rows = asked.take(kept[np.argsort(asked.arrived_unix_s[kept], kind="stable")])
    whole = rows.outcome == OK
    last_s = np.where(np.isnan(rows.last_token_s), rows.e2e_s, rows.last_token_s)
    return Observed(
        trace_of(rows),
        np.where(whole & rows.stream, rows.ttft_s, np.nan),
        np.where(whole, last_s, np.nan),
        float(rows.arrived_unix_s[0]),
    )


def engine_timings(requests: Requests, instance_id: int, most: int) -> EngineTimings:
    """The last `most` requests of one engine, timed from when they were sent there, with what
    their prompts share.

    Raises:
        ReadError: it has none that were streamed with its own counts.
    """
    mine = requests.instance_id == instance_id
    mine &= (requests.outcome == OK) & requests.stream & requests.usage
    mine &= (requests.output_tokens > 0) & (requests.prompt_tokens > 0)
    mine &= requests.waited_s < requests.ttft_s  # false for NaN
    rows = requests.take(mine)
    sent = rows.arrived_unix_s + rows.waited_s
    rows = rows.take(np.argsort(sent, kind="stable")[-most:])
    waited_s = rows.waited_s
    rows = replace(
        rows, arrived_unix_s=rows.arrived_unix_s + waited_s, waited_s=np.zeros(len(rows)),
        ttft_s=rows.ttft_s - waited_s, last_token_s=rows.last_token_s - waited_s,
        e2e_s=rows.e2e_s - waited_s,
    )  # fmt: skip
    rows = rows.take(rows.ttft_s <= np.where(np.isnan(rows.last_token_s), rows.e2e_s,
                                             rows.last_token_s))  # fmt: skip
    timings = timings_of(rows)
    trace = timings.trace
    made = Trace.of(
        trace.meta, arrival_s=trace.arrival_s, prompt_tokens=trace.prompt_tokens,
        output_tokens=trace.output_tokens, blocks=trace_of(rows).blocks,
    )  # fmt: skip
    return EngineTimings(made, timings.ttft_s, timings.e2e_s)


def busiest_engines(requests: Requests) -> tuple[int, ...]:
    """Instances by how many whole answers they gave, most first."""
    known = requests.instance_id[(requests.outcome == OK) & (requests.instance_id >= 0)]
    ids, counts = np.unique(known, return_counts=True)
    return tuple(int(k) for k in ids[np.argsort(-counts, kind="stable")])
