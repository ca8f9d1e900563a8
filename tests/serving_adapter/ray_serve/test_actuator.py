"""Plans carried out on a real Serve, through its REST API, while requests come in."""

import asyncio

import aiohttp
import pytest
from serve_logs import lines_of
from snapshot_files import SnapshotFile

from serving_adapter.actuators.protocol import Limits, Step
from serving_adapter.actuators.replicas import PoolSpec, ReplicaSpec, Shape
from serving_adapter.errors import PlanRefused
from serving_adapter.ray_serve.actuator import ServeActuator
from serving_adapter.ray_serve.applications import PlainApplications

pytestmark = pytest.mark.filterwarnings("ignore")
ROUTER = "serving_adapter.ray_serve.router.PolicyRequestRouter"
BODY = {"prompt": "a short prompt", "max_tokens": 4}
POOLS = (PoolSpec(gpu="H100", gpus=6),)
FEWEST = '''
"""The replica with the fewest requests."""


def route(request, instances, memory):
    best, fewest = instances[0].id, INF
    for inst in instances:
        if inst.running_requests < fewest:
            best, fewest = inst.id, inst.running_requests
    return best
'''


def spec(tp):
    return ReplicaSpec(shape=Shape(tp=tp))


def actuator_of(serve, tmp_path):
    file = SnapshotFile(tmp_path)
    file.publish(FEWEST)
    router = {"snapshot": str(file.path), "trust": str(file.trust), "engine": "interpreted",
              "decisions": str(tmp_path / "decisions")}  # fmt: skip
    options = {
        "ray_actor_options": {"num_cpus": 0.1}, "graceful_shutdown_timeout_s": 20.0,
        "request_router_config": {"request_router_class": ROUTER, "request_router_kwargs": router},
    }  # fmt: skip
    applications = PlainApplications(
        import_path="serving_adapter.ray_serve.emulated:application", deployment="EmulatedEngine",
        args={"engine": {"time_scale": 10.0}, "options": options}, prefix=tmp_path.name,
    )  # fmt: skip
    waits = Limits(ready_s=120.0, drain_s=60.0, poll_s=0.1, to_nothing=True)
    return ServeActuator(serve.dashboard, applications, POOLS, waits)


class Clients:
    """Ask where the newest replicas are, until told to stop."""

    def __init__(self, serve, prefix):
        self.base, self.prefix, self.tp = serve.url, prefix, 1
        self.served, self.over = [], False

    def told(self, progress):
        """What a gateway in front would do: use what was added."""
        if progress.step is Step.ADD:
            self.tp = int(progress.detail.split("tp=")[1].split()[0])

    async def run(self):
        async with aiohttp.ClientSession() as session:
            while not self.over:
                url = f"{self.base}/{self.prefix}-mixed-p0tp{self.tp}pp1"
                async with session.post(url, json=BODY) as answer:
                    self.served.append(answer.status)
                await asyncio.sleep(0.02)


async def test_replicas_come_before_others_go_and_requests_do_not_notice(serve, tmp_path):
    actuator, clients = actuator_of(serve, tmp_path), Clients(serve, tmp_path.name)
    seen = []

    def report(progress):
        seen.append(progress)
        clients.told(progress)

    first = await actuator.apply([spec(1)], report)
    assert (first.done, [one.spec for one in first.replicas]) == (True, [spec(1)])
    asking = [asyncio.create_task(clients.run()) for _ in range(3)]
    more = await actuator.apply([spec(1)] * 2, report)
    other = await actuator.apply([spec(2)], report)
    clients.over = True
    await asyncio.gather(*asking)
    assert more.done
    assert other.done
    assert set(clients.served) == {200}
    assert clients.tp == 2
    steps = [one.step for one in other.steps]
    assert steps[:3] == [Step.START, Step.READY, Step.ADD]
    assert sorted(steps[3:]) == sorted([Step.DRAIN, Step.STOP] * 2)
    assert [one.spec for one in other.replicas] == [spec(2)]
    kept = {one.name for one in first.replicas} & {one.name for one in more.replicas}
    assert len(kept) == 1  # more of a kind restarts none of it
    assert other.cost.extra_replica_s > 0
    assert other.cost.seconds > 0
    assert [one for one in seen if one.step is Step.ADD]
    assert {one["sequence"] for log in lines_of(tmp_path / "decisions").values() for one in log}
    assert (await actuator.apply([])).done
    assert await actuator.present() == ()


async def test_a_replica_that_does_not_start_is_taken_back(serve, tmp_path):
    actuator = actuator_of(serve, tmp_path)
    await actuator.apply([spec(1)])
    failed = await actuator.apply([spec(1), spec(3)])  # no profile has three GPUs
    assert (failed.done, failed.restored) == (False, True)
    assert "failed" in failed.reason
    assert [one.spec for one in failed.replicas] == [spec(1)]
    steps = [one.step for one in failed.steps]
    assert steps.index(Step.FAILED) < steps.index(Step.ROLL_BACK)
    with pytest.raises(PlanRefused):
        await actuator.apply([spec(8)])
    assert (await actuator.apply([])).done
