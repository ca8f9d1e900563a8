"""Who takes part in a run: every human policy can be verified on what the problem exercises."""

import pytest

from evolver.evolution import humans
from evolver.exercised import REQUEST_HOOKS, exercised_hooks
from evolver.serving_task import ServingTask
from evolver.task import Description, Human, Refused
from sandbox.cluster import load_cluster
from sandbox.policies import default_text
from sandbox.request_spec import SamplesSpec
from sandbox.windows import Windows
from telemetry import generate, load_profile

PLANNER_ONLY = '''"""Never plans."""


def should_reschedule(window, cluster, plan, memory):
    return False
'''

CLUSTER = load_cluster("edge-8b")
TRACE = generate(load_profile("azure2023_conv"), span_s=10.0, seed=0)


def hooks_on(cluster, replans=False):
    return exercised_hooks(TRACE, cluster, replans)


@pytest.mark.parametrize("replans", [False, True])
@pytest.mark.parametrize("text", [default_text(), PLANNER_ONLY])
def test_the_active_policy_is_always_among_those_to_beat(text, replans):
    hooks = hooks_on(CLUSTER, replans)
    task = ServingTask(None, Windows((), (), (), 0.0, 0.0, ()), Description("", ""), hooks)
    everyone = humans(hooks, Human("now", text, active=True))
    assert [human.active for human in everyone].count(True) == 1
    verified = [task.verify(human.text, human.name) for human in everyone]
    assert not [program for program in verified if isinstance(program, Refused)]


def test_requests_move_where_the_cluster_file_says_how_kv_travels():
    assert hooks_on(CLUSTER) == REQUEST_HOOKS
    linked = CLUSTER.model_copy(update={"network": CLUSTER.network})
    assert hooks_on(linked) == REQUEST_HOOKS | {"migrate"}
    alone = CLUSTER.pool[1].model_copy(update={"count": 1})
    assert hooks_on(linked.model_copy(update={"pool": (alone,)})) == REQUEST_HOOKS


def test_each_feature_of_a_fleet_brings_its_hook():
    assert "route_decode" in hooks_on(load_cluster("h100-8b-pd"))
    drafts = CLUSTER.speculation.model_copy(update={"max_depth": 4})
    assert "tune" in hooks_on(CLUSTER.model_copy(update={"speculation": drafts}))
    samples = SamplesSpec(count=3, needed=1)
    assert "branches" in hooks_on(CLUSTER.model_copy(update={"samples": samples}))
    assert {"schedule", "should_reschedule"} <= hooks_on(CLUSTER, replans=True)


def test_eviction_counts_where_prompts_are_known_to_share():
    shared = generate(load_profile("mooncake_conversation"), span_s=10.0, seed=0)
    assert "evict" in exercised_hooks(shared, CLUSTER, replans=False)
    uncached = CLUSTER.engine.model_copy(update={"enable_prefix_caching": False})
    off = CLUSTER.model_copy(update={"engine": uncached})
    assert "evict" not in exercised_hooks(shared, off, replans=False)
