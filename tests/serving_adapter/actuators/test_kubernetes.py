"""Plans carried out through the official Kubernetes client, which talks HTTP to a recorded API."""

import asyncio

import pytest

from serving_adapter.actuators import kubernetes as under_test
from serving_adapter.actuators.carrying_out import StepwiseActuator
from serving_adapter.actuators.kubernetes import KubernetesFleet
from serving_adapter.actuators.protocol import Limits
from serving_adapter.actuators.replicas import PoolSpec, ReplicaSpec, Shape
from serving_adapter.errors import ReplicaError
from tests.serving_adapter.actuators.recorded_api import RecordedApi

client_library = pytest.importorskip(
    "kubernetes", reason="needs the extra kubernetes: `make test-kubernetes`"
)

ONE, TWO = ReplicaSpec(), ReplicaSpec(shape=Shape(tp=2))
POOLS = (PoolSpec(gpu="H100"),)


@pytest.fixture
def fleet_of(serve, new_emulator, monkeypatch):
    """A fleet whose pods are all one emulated engine, and whose cluster is the recorded one."""
    monkeypatch.setattr(under_test, "BETWEEN_TRIES_S", 0.01)
    monkeypatch.setattr(under_test, "GONE_POLL_S", 0.01)
    monkeypatch.setattr(under_test, "CALL_TIMEOUT_S", 0.5)

    async def build(recorded):
        configuration = client_library.client.Configuration()
        configuration.host = await serve(recorded.application())
        configuration.retries = False
        engine = await serve(new_emulator().application())
        port = int(engine.rsplit(":", 1)[1])
        api = client_library.client.ApiClient(configuration)
        return KubernetesFleet(
            "serving", "llama", "template", POOLS, port=port, settle_s=0.0, api=api
        )

    return build


def actuator_of(fleet, **limits):
    return StepwiseActuator(fleet, Limits(**{"poll_s": 0.01, "ready_s": 20.0, **limits}))


async def test_replicas_are_created_exchanged_and_deleted(fleet_of):
    recorded = RecordedApi()
    async with await fleet_of(recorded) as fleet:
        actuator = actuator_of(fleet)
        first = await actuator.apply([ONE, ONE])
        second = await actuator.apply([ONE, TWO])
    kept = {r.name for r in first.replicas} & {r.name for r in second.replicas}
    assert (first.done, second.done, len(kept)) == (True, True, 1)
    assert [r.spec for r in second.replicas] == [ONE, TWO]
    assert set(recorded.deployments) == {"template", *(r.name for r in second.replicas)}
    assert recorded.calls.index("label") < recorded.calls.index("scale")
    assert recorded.calls.index("scale") < recorded.calls.index("delete")
    args = recorded.deployments[second.replicas[1].name]["spec"]["template"]["spec"]
    assert args["containers"][0]["args"][2:4] == ["--tensor-parallel-size", "2"]


async def test_shares_are_noted_without_another_pod(fleet_of):
    recorded, half = RecordedApi(), ReplicaSpec(share=(0.5,) * 8)
    async with await fleet_of(recorded) as fleet:
        await actuator_of(fleet).apply([ONE])
        outcome = await actuator_of(fleet).apply([half])
    assert [r.spec for r in outcome.replicas] == [half]
    assert recorded.calls.count("create") == 1


@pytest.mark.parametrize("fault", [409, 503, "hang", "lost"])
@pytest.mark.parametrize("verb", ["create", "label", "scale", "delete"])
async def test_conflicts_and_lost_answers_are_tried_again(fleet_of, verb, fault):
    recorded = RecordedApi()
    async with await fleet_of(recorded) as fleet:
        await actuator_of(fleet).apply([ONE])
        recorded.script[verb] = [fault]
        outcome = await actuator_of(fleet).apply([TWO])
    assert (outcome.done, [r.spec for r in outcome.replicas]) == (True, [TWO])
    assert len(recorded.deployments) == 2


async def test_what_is_refused_for_good_leaves_the_former_plan(fleet_of):
    recorded = RecordedApi()
    async with await fleet_of(recorded) as fleet:
        await actuator_of(fleet).apply([ONE])
        recorded.script["create"] = [403]
        outcome = await actuator_of(fleet).apply([TWO])
    assert (outcome.done, outcome.restored, "403" in outcome.reason) == (False, True, True)
    assert [r.spec for r in outcome.replicas] == [ONE]


async def test_a_pod_that_never_gets_ready_is_taken_back(fleet_of):
    recorded = RecordedApi()
    async with await fleet_of(recorded) as fleet:
        await actuator_of(fleet).apply([ONE])
        recorded.looks_until_ready = 10**9
        slow = await actuator_of(fleet, ready_s=0.2).apply([ONE, ONE])
        recorded.waiting_reason = "CrashLoopBackOff"
        (name,) = [r.name for r in slow.replicas]
        recorded.pods[name + "-x"]["metadata"]["labels"]["evolver/replica"] = "hidden"
        crashing = await actuator_of(fleet).apply([TWO])
    assert "not ready within" in slow.reason
    assert "CrashLoopBackOff, it ended with OOMKilled" in crashing.reason
    assert len(recorded.deployments) == 2


async def test_a_cluster_that_does_not_answer_is_said_so(fleet_of):
    recorded = RecordedApi()
    recorded.script["list"] = [500] * 9
    async with await fleet_of(recorded) as fleet:
        with pytest.raises(ReplicaError, match="500"):
            async with asyncio.timeout(20):
                await fleet.present()
