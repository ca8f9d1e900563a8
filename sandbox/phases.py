"""Where the mean request's time went: alone, waiting for its first token, and slowed after it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sandbox.hardware import Hardware
from sandbox.workflows import unloaded_parts_s
from telemetry.trace import Trace

Floats = NDArray[np.float64]


def phase_means(
    trace: Trace,
    hardware: Hardware,
    done: NDArray[np.bool_],
    ttft: Floats,
    e2e: Floats,
    preempted: NDArray[np.integer],
) -> dict[str, float]:
    """Seconds per finished request; the first four add up to the mean end-to-end time.

    `prefill_mean_s` and `decode_mean_s` are what it takes alone on the fastest shape, or what it
    took where that was less (a cached prefix). `waiting_mean_s` is the rest before the first token:
    queues, holding, other prompts. `slowed_mean_s` is the rest after it: the batch it shared, KV
    transfers, preemption; `preemption_mean_s` is the part of that in requests that were preempted.

    Args:
        done: which requests of the trace finished and count; ttft, e2e: seconds, of those.
        preempted: how often, of every request of the trace.
    """
    if not done.any():
        names = ("prefill", "decode", "waiting", "slowed", "preemption")
        return {f"{name}_mean_s": float("nan") for name in names}
    alone_prefill, alone_decode = unloaded_parts_s(trace, hardware)
    prefill = np.minimum(alone_prefill[done], ttft)
    decode = np.minimum(alone_decode[done], e2e - ttft)
    slowed = e2e - ttft - decode
    return {
        "prefill_mean_s": float(prefill.mean()),
        "decode_mean_s": float(decode.mean()),
        "waiting_mean_s": float((ttft - prefill).mean()),
        "slowed_mean_s": float(slowed.mean()),
        "preemption_mean_s": float((slowed * (preempted[done] > 0)).mean()),
    }
