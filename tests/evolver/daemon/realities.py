"""A fleet whose step times the sandbox does not know, and the request log that it would write."""

from __future__ import annotations

import numpy as np

from sandbox.calibration import Calibration, Errors, Terms
from sandbox.cluster import ClusterSpec, EngineSpec, PoolSpec, ReplicaSpec
from sandbox.kernel.state import FINISHED, PS_PER_S
from sandbox.profiles import load_profile
from sandbox.replay import default_policy
from sandbox.simulation import Setup, simulate
from telemetry.request_rows import parse_rows
from telemetry.trace import Trace, TraceMeta

BEGAN = 1_800_000_000.0
CLUSTER = ClusterSpec(
    name="live", model="llama-3.1-8b", pool=(PoolSpec(gpu="A100", count=2),),
    replica=(ReplicaSpec(pool=0, tp=1, count=2),), engine=EngineSpec(max_num_seqs=64),
)  # fmt: skip
SLOW = {"step_overhead_ps": 9_000_000_000, "request_overhead_ps": 60_000_000_000}


def trace(n=600, seed=0, rate=6.0):
    draw = np.random.default_rng(seed)
    return Trace.of(
        TraceMeta(), arrival_s=np.sort(draw.random(n)) * n / rate,
        prompt_tokens=draw.integers(50, 2000, n), output_tokens=draw.integers(2, 200, n),
    )  # fmt: skip


def calibration_of(profile):
    """A calibration that gives a replica the terms of this profile."""
    none = dict.fromkeys(Errors.model_fields, 0.0)
    return Calibration(
        gpu=profile.gpu, model=profile.model, tp=profile.tp, tables=profile.tables_digest,
        terms=Terms.of(profile), source="timings", requests=1,
        before=Errors(**none), after=Errors(**none), differential_error=0.02,
    )  # fmt: skip


def really(cluster=CLUSTER, terms=SLOW):
    """The cluster as it is: with terms that its file does not say."""
    truth = calibration_of(load_profile("A100", "llama-3.1-8b", 1).calibrated(**terms))
    return cluster.model_copy(update={"calibrated": (truth,)})


def logged(requests, cluster, policy=None, **changes):
    """What the gateway would log of a trace on a cluster."""
    outcome = simulate(Setup(requests, cluster), policy or default_policy(), default_policy())
    done = outcome.state == FINISHED
    rows = [
        {
            "arrived_unix_s": BEGAN + float(requests.arrival_s[k]),
            "prompt_tokens": int(requests.prompt_tokens[k]),
            "output_tokens": int(requests.output_tokens[k]),
            "ttft_s": float(outcome.first[k] - outcome.entered[k]) / PS_PER_S,
            "e2e_s": float(outcome.finish[k] - outcome.entered[k]) / PS_PER_S,
            "waited_s": 0.0, "instance_id": int(outcome.engine[k]), "stream": True, "usage": True,
            "outcome": "ok", **changes,
        }
        for k in np.flatnonzero(done)
    ]  # fmt: skip
    return parse_rows(rows).requests
