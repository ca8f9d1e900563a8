"""A pair small enough to reason about: one model on three GPUs, one of which comes and goes."""


import numpy as np

from evolver.online.pairs import Ground, PairSpec
from sandbox.capacity import Pairing
from sandbox.cluster import ClusterSpec
from telemetry.capacity import CapacityTrace
from telemetry.trace import Trace, TraceMeta

WHY = "as it is made here"
SPAN_S = 160.0


def spec(**given):
    base = {
        "name": "small", "cluster": "h100-8b", "cluster_why": WHY, "monitoring_s": 5.0,
        "past_s": 40.0, "think_every_s": 20.0, "piece_s": 10.0,
        "requests": {"file": "none.csv", "why": WHY},
        "capacity": {"file": "none.json", "node": "H100:1", "why": WHY},
        "regime": [{"name": "one", "until_s": 100.0}, {"name": "two", "until_s": SPAN_S}],
    }  # fmt: skip
    return PairSpec.model_validate(base | given)


def ground(output=None, losses=(60.0, 90.0), extra=0):
    """Requests every half second; a GPU leaves and returns in turn at the times of `losses`.

    Args:
        output: answers' lengths; extra: more requests, in the last 40 s.
    """
    arrivals = np.concatenate([np.arange(0.0, SPAN_S, 0.5), np.full(extra, SPAN_S - 20.0)])
    rows = len(arrivals)
    tokens = np.full(rows, 60) if output is None else np.append(output, np.full(extra, 60))
    trace = Trace.of(
        TraceMeta(name="small"), arrival_s=arrivals, prompt_tokens=np.full(rows, 400),
        output_tokens=tokens, span_s=SPAN_S,
    )  # fmt: skip
    cluster = ClusterSpec.model_validate({
        "name": "small", "model": "Llama-3.1-8B",
        "pool": [{"gpu": "L40S", "count": 3, "node_size": 1}],
        "tick": {"monitoring_s": 5.0}, "predictor": {"mode": "none"},
        "switch": {"start_s": 4.0, "grace_s": 5.0}, "price": {"planner_s": 0.002},
    })  # fmt: skip
    course = CapacityTrace.of(
        TraceMeta(name="small"), "availability", span_s=20 * SPAN_S, initial_up=[True],
        time_s=list(losses), node=[0] * len(losses), up=[k % 2 == 1 for k in range(len(losses))],
    )  # fmt: skip
    return Ground(spec(), trace, cluster, Pairing(course, 0, 1), (WHY,))


