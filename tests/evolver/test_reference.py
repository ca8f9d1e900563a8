"""What the prompt's own words say about the language and the simulator is true."""

import numpy as np
import pytest

from evolver.reference import bounds
from sandbox.cluster import ClusterSpec
from sandbox.engine import load_policy
from sandbox.errors import PolicyRefused
from sandbox.replay import default_policy
from sandbox.scenario import fault_name
from sandbox.simulation import Setup, build, simulate
from sandbox.verifier import verify
from telemetry.trace import Trace, TraceMeta

CLUSTER = ClusterSpec.model_validate({
    "model": "Llama-3.1-8B", "pool": [{"gpu": "H100", "count": 3}], "switch": {"start_s": 1.0},
})  # fmt: skip
N = 40
TRACE = Trace.of(
    TraceMeta(name="t"), arrival_s=np.linspace(0.0, 39.0, N), prompt_tokens=np.full(N, 200),
    output_tokens=np.full(N, 20), span_s=40.0,
)  # fmt: skip
FILL = "    for k in range(3):\n        add_replica(new_plan, 0, 1, 1, MIXED)\n"
FIRST_PLAN = '''"""Faults unless all is as it is said to be before the first plan."""


def schedule(window, cluster, plan, new_plan, memory):
    if len(plan.replicas) == 0:
        empty = len(window.classes) == 0 and window.now_s == 0.0 and window.span_s == 0.0
        plain = window.busy == 0.0 and window.last_switch_s == 0.0 and window.since_plan_s == 0.0
        flags = window.plan_feasible or window.capacity_changed
        if not empty or not plain or flags or len(new_plan.replicas) > 0:
            memory[0] = 1.0 / memory[1]
'''
INDEX = '''"""Reads a class before there is one."""


def schedule(window, cluster, plan, new_plan, memory):
    memory[0] = window.classes[0].rate_rps
'''
CHANGED_COPY = '''"""Drops a replica of the plan it keeps, once."""


def should_reschedule(window, cluster, plan, memory):
    return window.now_s > 5.0 and memory[0] == 0.0


def schedule(window, cluster, plan, new_plan, memory):
    if len(plan.replicas) > 0:
        memory[0] = 1.0
        keep_plan(new_plan, plan)
        drop_replica(new_plan, 0)
        return
'''


def run(text):
    policy = load_policy(verify(text, "x"), engine="interpreted")
    return simulate(Setup(TRACE, CLUSTER), policy, default_policy()).totals


def test_the_first_plan_sees_what_is_said():
    totals = run(FIRST_PLAN + FILL)
    assert (int(totals["faults"]), int(totals["plans"])) == (0, 1)
    assert fault_name(run(INDEX + FILL)) == "index in schedule"


def test_shapes_are_first_rated_for_the_lengths_that_are_said():
    settings = build(Setup(TRACE, CLUSTER), default_policy(), default_policy()).settings[0]
    assert (settings["nominal_prompt"], settings["nominal_output"]) == (1000.0, 200.0)


def test_what_is_changed_in_a_kept_plan_counts():
    totals = run(CHANGED_COPY + FILL)
    assert (int(totals["faults"]), int(totals["reconfigurations"])) == (0, 1)


@pytest.mark.parametrize("name", ["instances", "unknown_turns"])
def test_loops_count_as_many_turns_as_is_said(name):
    loop = {"instances": "for inst in instances", "unknown_turns": "for x in xs"}[name]
    text = (
        '"""Counts."""\n\n\ndef route(request, instances, memory):\n'
        "    xs = [i.queued_requests for i in instances if i.queued_requests > 0]\n"
        f"    total = 0.0\n    {loop}:\n        total += 1.0\n    return instances[0].id\n"
    )
    plain = text.replace(f"    {loop}:\n        total += 1.0\n", "    total += 1.0\n")
    costs = [verify(t, "x").cost["route"] for t in (text, plain)]
    turns = int(bounds()[name]) if name == "instances" else 64
    assert turns <= costs[0] - costs[1] <= 8 * int(bounds()["unknown_turns"])


def test_a_hook_per_request_is_refused_above_the_bound_that_is_said():
    cubed = (
        '"""Too dear."""\n\n\ndef route(request, instances, memory):\n    n = 0\n'
        "    for a in instances:\n        for b in instances:\n            for c in instances:\n"
        "                n += 1\n    return instances[n - n].id\n"
    )
    with pytest.raises(PolicyRefused, match=bounds()["request_fuel"]):
        verify(cubed, "x")
