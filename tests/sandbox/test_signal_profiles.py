"""Under a signal profile a policy sees what that door tells, and nothing of it is later lost."""

from dataclasses import replace

import numpy as np
import pytest
import small_worlds as worlds

from evolver.library import read
from sandbox import contract
from sandbox.cluster import ClusterError, load_cluster, parse_cluster
from sandbox.engine import load_policy
from sandbox.fingerprint import fingerprint
from sandbox.hidden import seen_through
from sandbox.kernel.program import Program
from sandbox.replay import capacity_rps, default_policy
from sandbox.signal_doors import scalars
from sandbox.signal_profiles import (
    FULL,
    UnknownSignals,
    missing_for,
    objection_to,
    richer,
    signal_profile,
    signal_profile_names,
)
from sandbox.simulation import Setup, build, simulate
from sandbox.verifier import verify
from telemetry import generate, load_profile

CLUSTER = load_cluster("edge-8b")
SEES = """def route(request, instances, memory):
    memory[0] = request.prompt_tokens
    memory[1] = request.ttft_slo_s
    memory[2] = request.class_id
    memory[3] = instances[0].step_base_s
    memory[4] = instances[0].prefill_backlog_tokens
    memory[5] = instances[0].signal_age_s
    memory[6] = instances[0].queued_requests
    memory[7] = instances[0].role
    memory[8] += float(completion_s(request, instances[0]) == completion_s(request, instances[0]))
    for inst in instances:
        if inst.cached_prefix_tokens > 0 and inst.id != request.last_instance:
            memory[9] += 1.0
    return instances[0].id


def priority(request, instance, memory):
    memory[0] += float(is_missing(instance.share) and instance.knob_token_budget == -1)
    return 0.0
"""


def trace(profile="azure2023_conv", span_s=60.0):
    return generate(load_profile(profile), span_s=span_s, seed=0)


def memories(signals, requests, engine="interpreted"):
    """What SEES wrote down last: of one router, and of all engines together."""
    cluster = CLUSTER.seen_by(signals)
    cluster = cluster.model_copy(update={"router": cluster.router.model_copy(update={"count": 1})})
    policy = load_policy(verify(SEES), engine=engine)  # a run lives no longer than its policy
    sim = build(Setup(requests, cluster), policy, default_policy())
    program = Program(sim)
    assert program.start()
    while program.run(10_000):
        pass
    return sim.router_memory[0], sim.engine_memory.sum(axis=0)


def test_a_door_shows_only_what_it_knows_to_the_policy_and_its_tools():
    requests = trace()
    full, _ = memories("full", requests)
    behind, engine = memories("gateway", requests)
    routed, scheduler = memories("vllm-scheduler", requests)
    assert not np.isnan(full[[1, 3]]).any()
    assert np.isnan(behind[[1, 3]]).all()
    assert (full[4] >= 0, behind[4]) == (True, -1)
    assert (full[8] > 0, behind[8]) == (True, 0)
    assert (behind[2], behind[7], behind[6] >= 0) == (1, contract.MIXED, True)
    assert engine[0] == 0  # the gateway does not ask engines, and others know their own
    assert not np.isnan(routed[3])
    assert scheduler[0] > 0
    assert full[0] == requests.prompt_tokens[-1] != behind[0] > 0


def test_both_engines_see_the_same_behind_a_door():
    requests = trace("mooncake_conversation", 20.0)
    seen = [memories("gateway", requests, engine) for engine in ("interpreted", "compiled")]
    for one, other in zip(*seen, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_cached_is_what_the_previous_call_of_the_session_left():
    requests = trace("mooncake_conversation", 90.0)
    full, _ = memories("full", requests, "compiled")
    behind, _ = memories("gateway", requests, "compiled")
    assert full[9] > 0 == behind[9]


def test_signals_are_as_old_as_the_door_has_them_and_no_younger():
    behind = seen_through(CLUSTER.seen_by("gateway"))
    assert behind.router.signal_age_s == signal_profile("gateway").age_s
    assert behind.predictor.mode == "measured"
    slow = CLUSTER.model_copy(
        update={"router": CLUSTER.router.model_copy(update={"signal_age_s": 9.0})}
    )
    assert seen_through(slow.seen_by("gateway")).router.signal_age_s == 9.0
    assert seen_through(CLUSTER) == CLUSTER
    alone = CLUSTER.model_copy(update={"router": CLUSTER.router.model_copy(update={"count": 1})})
    assert seen_through(alone.seen_by("gateway")).router == alone.router


def test_a_load_means_the_same_behind_every_door():
    requests = trace()
    assert capacity_rps(requests, CLUSTER) == capacity_rps(requests, CLUSTER.seen_by("gateway"))


@pytest.mark.parametrize("name", signal_profile_names())
def test_behind_every_door_a_run_is_the_same_bits_again_and_step_by_step(name):
    policy = load_policy(verify(read("prefix_affinity"), "p"), engine="interpreted")
    setup = Setup(trace("mooncake_conversation", 20.0), CLUSTER.seen_by(name), seed=3)
    once, again, reference = (
        fingerprint(simulate(one, policy, default_policy()))
        for one in (setup, setup, replace(setup, macro=False))
    )
    assert once == again == reference


def test_the_worlds_of_the_laws_are_seen_through_every_door():
    met = {worlds.world(seed).setup.cluster.signals for seed in range(60)}
    assert met == set(signal_profile_names())


@pytest.mark.parametrize("name", signal_profile_names())
def test_a_profile_names_fields_of_the_contract_and_always_the_id(name):
    profile = signal_profile(name)
    for record, fields in profile.fills.items():
        assert fields <= set(scalars(record))
        assert not set(profile.constants.get(record, {})) & fields
    assert "id" in profile.fills["Instance"]
    assert set(profile.hooks) <= set(FULL.hooks)


def test_a_policy_lacks_what_the_hooks_of_the_door_read():
    door = signal_profile("gateway")
    text = verify(SEES).canonical
    assert {"Instance.step_base_s", "Instance.prefill_backlog_tokens"} <= missing_for(text, door)
    assert "Instance.knob_token_budget" not in missing_for(text, door)  # priority: never asked
    assert not missing_for(text, FULL)
    assert richer(text, FULL, door) == missing_for(text, door)
    assert not richer(text, door, door)
    assert not objection_to(text, "gateway", door)
    assert "Instance.step_base_s" in objection_to(text, "full", door)
    assert "not known here" in objection_to(text, "x", door)


def test_an_unknown_profile_is_refused_by_name():
    with pytest.raises(UnknownSignals, match="give one of: full, gateway"):
        CLUSTER.seen_by("tea leaves")
    with pytest.raises(ClusterError, match="signals"):
        parse_cluster('model = "x"\nsignals = "tea"\n[[pool]]\ngpu = "A100"\ncount = 1\n')
