"""Hundreds of engines: a plan holds them, and there are no more events for there being more."""

import numpy as np
import planned
import pytest

from sandbox import contract
from sandbox.engine import load_policy
from sandbox.kernel.state import ACTIVE, FINISHED
from sandbox.language.kinds import COUNTED_ENGINES
from sandbox.verifier import verify

ANY = '"""Anywhere."""\n\n\ndef route(request, instances, memory):\n'
ANY += "    return instances[int(random01(request.seed, 0) * len(instances))].id\n"


def fleet(count):
    return planned.cluster({"gpu": "A100", "count": count}, replica=[
        {"pool": 0, "tp": 1, "count": count}])  # fmt: skip


def spread(count, n=4000):
    policy = load_policy(verify(ANY), engine="compiled")
    run = planned.Watched(fleet(count), policy, trace=planned.requests(n, gap_s=0.005))
    run.end()
    return run.sim


def test_512_engines_serve():
    sim = spread(512)
    assert (sim.instances["state"] == ACTIVE).sum() == 512
    assert len(np.unique(sim.requests["instance"])) > 500
    assert np.all(sim.requests["state"] == FINISHED)


def test_more_engines_are_not_more_events():
    few, many = (int(spread(count).totals["handled"][0]) for count in (16, 512))
    assert many < 1.5 * few


def test_a_planner_fills_a_plan_of_512_and_is_told_when_it_is_full():
    run = planned.Watched(
        planned.cluster({"gpu": "A100", "count": 512}, replica=[{"pool": 0, "tp": 1}]),
        planned.planner(
            "added = 0",
            "for k in range(600):",
            "    added += 1 if add_replica(new_plan, 0, 1, 1, MIXED) >= 0 else 0",
            "memory[0] = added",
        ),
    ).until(2.0)
    assert run.sim.planner_memory[0, 0] == contract.MAX_REPLICAS == 512
    assert run.sim.plan["n_replicas"][0] == 512


def test_the_static_cost_counts_no_more_replicas_than_instances():
    text = '"""Counts."""\n\n\ndef should_reschedule(window, cluster, plan, memory):\n'
    text += "    for replica in plan.replicas:\n        memory[0] += replica.tp\n    return False\n"
    cost = verify(text).cost["should_reschedule"]
    assert COUNTED_ENGINES < cost < 20 * COUNTED_ENGINES


@pytest.mark.parametrize("mode", ["open", "backlog"])
def test_a_cluster_of_one_engine_has_rows_for_one(mode):
    run = planned.Watched(fleet(1), mode=mode)
    assert len(run.sim.instances) == 1
