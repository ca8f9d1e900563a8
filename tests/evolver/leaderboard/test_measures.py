"""What scenarios are judged by beyond the numbers of a replay, on schedules worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from evolver.leaderboard.measures import measures
from sandbox.cluster import ClusterSpec
from sandbox.kernel.state import FINISHED, PS_PER_S
from sandbox.replay import default_policy
from sandbox.scenario import Scenario, outcome_of
from telemetry.trace import Trace, TraceMeta

CLUSTER = ClusterSpec.model_validate(
    {"model": "Llama-3.1-8B", "pool": [{"gpu": "H100", "count": 1}]}
)


def trace(**columns):
    count = len(columns["arrival_s"])
    return Trace.of(
        TraceMeta(name="t"), prompt_tokens=np.full(count, 100), output_tokens=np.full(count, 50),
        span_s=60.0, **columns,
    )  # fmt: skip


def found(requests, **changes):
    window = Scenario("w", requests, CLUSTER, None, 0.0, 0)
    outcome = outcome_of(window, default_policy())
    if "finish" in changes:
        outcome.totals["integrated"] = changes["finish"].max()
    return measures(replace(outcome, **changes), window)


def seconds(*values):
    return np.round(np.array(values) * PS_PER_S).astype(np.int64)


def test_workflows_count_as_in_time_by_their_time_alone():
    chain = trace(arrival_s=np.zeros(4), after=[-1, 0, -1, 2], session=[0, 0, 1, 1])
    numbers = found(chain)
    assert numbers["workflow_slowdown_p95"] == pytest.approx(1.0, abs=0.5)
    assert numbers["workflow_within_2"] == 1.0
    late = found(chain, finish=seconds(0.5, 1.0, 0.5, 50.0), state=np.full(4, FINISHED))
    assert late["workflow_within_2"] <= 0.5
    assert late["workflow_slowdown_p99"] > 3.0


def test_the_service_gap_is_what_one_tenant_gets_while_the_other_waits():
    both = trace(arrival_s=[0.0, 0.0, 0.0, 0.0], tenant=[0, 0, 0, 1], tenants=["a", "b"])
    # b waits for 30 s while a has requests waiting for 20 s: two of a's run by then
    held = found(
        both, first=seconds(5.0, 10.0, 20.0, 30.0), finish=seconds(10.0, 20.0, 30.0, 40.0),
        entered=np.zeros(4, np.int64),
    )  # fmt: skip
    assert held["service_gap_tokens"] == pytest.approx(2 * (100 + 2 * 50), rel=0.05)
    # when b is let in at once, nothing is served while it waits
    fair = found(
        both, first=seconds(5.0, 10.0, 20.0, 0.0), finish=seconds(10.0, 20.0, 30.0, 5.0),
        entered=np.zeros(4, np.int64),
    )  # fmt: skip
    assert fair["service_gap_tokens"] == 0.0
    assert np.isnan(found(trace(arrival_s=[0.0, 1.0]))["service_gap_tokens"])
