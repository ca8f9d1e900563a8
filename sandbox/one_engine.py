"""One engine of one profile serves a list of requests: what a profile is fitted and judged by.

The simulator's own kernel runs it, on a cluster of a single replica whose tables are replaced by
the profile's; nothing is approximated a second time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sandbox.cluster import ClusterSpec, EngineSpec, PoolSpec, RouterSpec, TickSpec
from sandbox.hardware import hardware_of
from sandbox.kernel.state import FINISHED, PS_PER_S
from sandbox.profiles import Profile
from sandbox.simulation import EVENTS_PER_CALL, LONGEST_S, Setup, SimulationError, build
from telemetry.trace import Trace

Floats = NDArray[np.float64]

_GPU, _MODEL = "H100", "llama-3.1-8b"  # only lend the cluster its form; their tables are replaced


@dataclass(frozen=True, slots=True)
class Timings:
    """Per request of a trace, in seconds, each shape (n,); NaN where a request did not finish.

    Attributes:
        ttft_s: from arrival to the first token, the per-request constant included.
        tpot_s: mean gap between later tokens; NaN for a single token.
        e2e_s: from arrival to the last token.
    """

    ttft_s: Floats
    tpot_s: Floats
    e2e_s: Floats

    def __len__(self) -> int:
        return len(self.e2e_s)


def serve(
    profile: Profile, trace: Trace, engine: EngineSpec, kv_tokens: int | None = None
) -> Timings:
    """Serve `trace` on one replica of `profile`.

    Args:
        profile: step times and memory of the replica.
        trace: requests; those with a parent come when it has finished, as in a closed loop.
        engine: batch limits and prefix caching.
        kv_tokens: KV tokens the engine holds, if they are known; the profile's by default.

    Raises:
        SimulationError: the run is longer than the clock, or its events do not fit.
    """
    from sandbox.kernel.program import Program
    from sandbox.replay import default_policy

    cluster = _cluster(engine)
    setup = Setup(trace, cluster, stop_s=LONGEST_S)
    sim = build(setup, default_policy(), default_policy())
    rows = hardware_of([(0, _alone(profile, kv_tokens), 1)], cluster, sim.pools, sim.gpus)
    sim = sim._replace(
        shapes=rows.shapes,
        step_tokens=rows.step_tokens,
        step_batch=rows.step_batch,
        step_context=rows.step_context,
        step_mixed=rows.step_mixed,
    )
    program = Program(sim)
    if not program.start():
        raise SimulationError("A single replica did not start; rebuild the profile tables.")
    while program.run(EVENTS_PER_CALL):
        pass
    if sim.totals[0]["broken"]:
        raise SimulationError("The simulator ran out of event space; give fewer requests.")
    return _timings(sim.requests, trace)


def _alone(profile: Profile, kv_tokens: int | None) -> Profile:
    """The replica as if it sat on one GPU: only its tables and its memory count here."""
    held = profile.kv_capacity_tokens if kv_tokens is None else kv_tokens
    return replace(profile, tp=1, weight_bytes=0, kv_capacity_tokens=held)


def _cluster(engine: EngineSpec) -> ClusterSpec:
    return ClusterSpec(
        name="one-engine",
        model=_MODEL,
        pool=(PoolSpec(gpu=_GPU, count=1),),
        engine=engine,
        # Nobody needs to be asked anything here: policies see one engine.
        tick=TickSpec(monitoring_s=1e6, rekey_s=1e6),
        router=RouterSpec(count=1, signal_age_s=0.0),
    )


def _timings(rows: NDArray[np.void], trace: Trace) -> Timings:
    done = rows["state"] == FINISHED
    entered, first, finish = (
        np.where(done, rows[name], 0) / PS_PER_S for name in ("entered", "first", "finish")
    )
    later = np.where(done & (trace.output_tokens > 1), trace.output_tokens - 1.0, np.nan)
    nowhere = np.where(done, 0.0, np.nan)
    return Timings(first - entered + nowhere, (finish - first) / later, finish - entered + nowhere)
