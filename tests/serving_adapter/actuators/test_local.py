"""Plans carried out with real processes behind a gateway that serves all the while."""

import asyncio
import sys

import pytest

from serving_adapter.actuators.carrying_out import StepwiseActuator
from serving_adapter.actuators.commands import EmulatedEngine, VllmServer
from serving_adapter.actuators.local import LocalFleet
from serving_adapter.actuators.protocol import Limits
from serving_adapter.actuators.replicas import PoolSpec, ReplicaSpec, Shape
from serving_adapter.actuators.router_side import GatewayRouter
from serving_adapter.emulation.fleet import EngineSpec
from serving_adapter.emulation.load import LoadRequest, replay
from serving_adapter.errors import ReplicaError

ONE, TWO = ReplicaSpec(), ReplicaSpec(shape=Shape(tp=2))
POOL = (PoolSpec(gpu="H100", gpus=3),)


async def test_a_plan_with_another_tp_is_carried_out_under_load(stand, tmp_path):
    """An engine of one GPU gives way to one of two; nothing is lost."""
    gate = await stand()
    kind = EmulatedEngine(like=EngineSpec(time_scale=10.0, prefix_caching=True))
    router = GatewayRouter(gate.gateway, kind.facts)
    async with LocalFleet(kind, router, POOL, logs=tmp_path) as fleet:
        actuator = StepwiseActuator(fleet, Limits(ready_s=60.0, poll_s=0.05))
        assert (await actuator.apply([ONE])).done
        async with gate.client.get(fleet.url("local-1") + "/v1/models") as answer:
            model = (await answer.json())["data"][0]["id"]
        changing = asyncio.create_task(actuator.apply([TWO]))
        served = []
        while not changing.done():
            load = [LoadRequest(0.2 * index, 200, 20) for index in range(10)]
            served += await replay(load, gate.url, model=model, time_scale=10.0)
        outcome = await changing
        served += await replay(load, gate.url, model=model, time_scale=10.0)
        assert (outcome.done, [r.spec for r in outcome.replicas]) == (True, [TWO])
        assert all(one.ok for one in served)
        assert {one.instance for one in served[-10:]} == {router.instance_id("local-2")}
        assert outcome.cost.seconds > outcome.cost.extra_gpu_s > 0
        assert outcome.cost.lost_cache_tokens > 0


class Broken:
    """An engine whose program ends at once, or is not there."""

    stop_s = 1.0

    def __init__(self, command):
        self._command = command

    def command(self, spec, port):
        return self._command

    def environment(self, devices):
        return {}


@pytest.mark.parametrize(
    ("command", "word"),
    [([sys.executable, "-c", "print('no'); raise SystemExit(3)"], "ended with 3"),
     (["/nowhere/engine"], "does not start")],
)  # fmt: skip
async def test_an_engine_that_does_not_come_up_says_why(stand, tmp_path, command, word):
    router = GatewayRouter((await stand()).gateway)
    async with LocalFleet(Broken(command), router, POOL, logs=tmp_path) as fleet:
        outcome = await StepwiseActuator(fleet, Limits(poll_s=0.02)).apply([ONE])
        assert (outcome.done, outcome.restored, outcome.replicas) == (False, True, ())
        assert word in outcome.reason
    assert (tmp_path / "local-1.log").read_text() == ("no\n" if "ended" in word else "")


async def test_engines_are_bound_to_gpus_that_nobody_has(stand, tmp_path):
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    router = GatewayRouter((await stand()).gateway)
    options = {"logs": tmp_path, "devices": {0: (4, 5, 6)}}
    async with LocalFleet(Broken(command), router, POOL, **options) as fleet:
        names = [await fleet.start(TWO), await fleet.start(ONE)]
        assert [fleet._engines[name].devices for name in names] == [(4, 5), (6,)]
        with pytest.raises(ReplicaError, match="no GPUs left"):
            await fleet.start(ONE)
        dead = fleet._engines[names[0]].process
        dead.kill()
        await dead.wait()
        assert [replica.failed for replica in await fleet.present()] == [True, False]
        await fleet.stop(names[0])
        assert fleet._engines[await fleet.start(ONE)].devices == (4,)


def test_command_lines_say_the_plan():
    spec = ReplicaSpec(shape=Shape(gpu="A100", tp=2, pp=2))
    server = VllmServer(model="m", arguments=("--dtype", "bfloat16"))
    words = " ".join(server.command(spec, 8001))
    assert "vllm.entrypoints.openai.api_server --model m --host 127.0.0.1 --port 8001" in words
    assert "--tensor-parallel-size 2 --pipeline-parallel-size 2 --shutdown-timeout 60" in words
    assert server.environment((4, 5)) == {"CUDA_VISIBLE_DEVICES": "4,5"}
    with pytest.raises(ReplicaError, match="pp=1"):
        EmulatedEngine().command(spec, 8001)
