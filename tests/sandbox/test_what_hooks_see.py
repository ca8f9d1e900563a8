"""Fields that hang on who is asked about: shares by class, tenants within an engine, promises."""

import numpy as np
import pytest
import test_prefix_cache as prompts
from planned import cluster, requests

from sandbox.engine import load_policy
from sandbox.kernel.program import Program
from sandbox.replay import default_policy
from sandbox.simulation import Setup, build
from sandbox.verifier import verify

TWO = {"gpu": "A100", "count": 2}


def ran(trace, spec, text):
    policy = load_policy(verify(f'"""Looks."""\n\n\n{text}'), engine="interpreted")
    program = Program(build(Setup(trace, spec), policy, default_policy()))
    assert program.start()
    while program.run(10_000):
        pass
    return program.sim


def test_the_share_is_that_of_the_requests_own_class():
    text = """def route(request, instances, memory):
    best = instances[0]
    for inst in instances:
        if inst.share > best.share:
            best = inst
    return best.id


def schedule(window, cluster, plan, new_plan, memory):
    for k in range(2):
        add_replica(new_plan, 0, 1, 1, MIXED)
        set_share(new_plan, k, 1, 0.2 + 0.6 * k)
        set_share(new_plan, k, 2, 0.8 - 0.6 * k)
"""
    online = np.arange(20) % 3 > 0
    sim = ran(requests(20, 0.1, online=online), cluster(TWO), text)
    assert sim.requests["last_instance"].max() == -1
    assert sim.instances["id"][sim.requests["instance"]].tolist() == online.astype(int).tolist()


def test_an_engine_sees_how_much_of_a_requests_tenant_it_has():
    text = """def admit(request, instance, memory):
    memory[request.tenant] = max(memory[request.tenant], instance.tenant_requests)
    return True
"""
    tenant = np.array([0, 1, 0, 0, 1, 0])
    sim = ran(requests(6, 0.0, tenant=tenant), cluster({"gpu": "A100", "count": 1}), text)
    assert sim.engine_memory[0, :2].tolist() == [4.0, 2.0]


def test_the_hooks_of_a_queue_see_what_their_engine_has_of_the_prompt():
    text = """def priority(request, instance, memory):
    memory[0] = max(memory[0], instance.cached_prefix_tokens)
    return 0.0


def admit(request, instance, memory):
    memory[1] = max(memory[1], instance.cached_prefix_tokens)
    return True
"""
    policy = load_policy(verify(f'"""Looks."""\n\n\n{text}'), engine="interpreted")
    repeated = prompts.run([range(20), range(30)], policy=policy)
    assert repeated.engine_memory[0, :2].tolist() == [20.0 * prompts.SIZE] * 2
    others = prompts.run([range(20), range(30, 60)], policy=policy)
    assert others.engine_memory[0, :2].tolist() == [0.0, 0.0]


def test_there_is_no_last_switch_before_the_first():
    text = """def should_reschedule(window, cluster, plan, memory):
    memory[0] += is_missing(window.last_switch_s)
    memory[1] = window.last_switch_s
    return window.now_s > 3.5 and len(plan.replicas) == 2


def schedule(window, cluster, plan, new_plan, memory):
    for k in range(2 if window.now_s < 3.5 else 1):
        add_replica(new_plan, 0, 1 if window.now_s < 3.5 else 2, 1, MIXED)
"""
    memory = ran(requests(120), cluster(TWO), text).planner_memory[0]
    assert memory[0] >= 4
    assert memory[1] > 1.0


def test_planners_are_told_what_is_promised():
    text = """def should_reschedule(window, cluster, plan, memory):
    for c in range(4):
        memory[c] = cluster.tpot_slo_s[c]
    memory[4], memory[5] = cluster.ttft_slo_s[2], cluster.e2e_slo_s[2]
    memory[6] = cluster.max_num_seqs
    return False
"""
    spec = cluster(TWO, engine={"max_num_seqs": 77}, slo={"tpot_s": 0.03})
    memory = ran(requests(20), spec, text).planner_memory[0]
    assert memory[:7] == pytest.approx([0.03, 0.03, 1.0, np.nan, 600.0, 3600.0, 77.0], nan_ok=True)
