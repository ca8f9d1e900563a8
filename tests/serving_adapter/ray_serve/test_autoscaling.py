"""One policy decides where requests go and how many replicas there are: 1, 3, and 1 again."""

import asyncio

import aiohttp
import pytest
from planning_policies import BY_RATE
from serve_logs import lines_of, until
from snapshot_files import SnapshotFile

from serving_adapter.ray_serve.replica_counts import shared_counts

pytestmark = pytest.mark.filterwarnings("ignore")
ROUTER = "serving_adapter.ray_serve.router.PolicyRequestRouter"
BODY = {"prompt": "a short prompt", "max_tokens": 4}
CLUSTER = 'name = "three"\nmodel = "Llama-3.1-8B"\n\n[[pool]]\ngpu = "H100"\ncount = 3\n'

# what a window shows jumps from one to the next; its forecast does not
BY_FORECAST = BY_RATE.replace("rate_rps", "forecast_rps").replace("rate / 10.0", "rate / 4.0")


class Context:
    """What Serve's controller shows of a deployment."""

    def __init__(self, target=1, least=1, most=8):
        self.target_num_replicas, self.running_replicas = target, ("r0",)
        self.total_queued_requests, self.raw_metrics = 0.0, {}
        self.capacity_adjusted_min_replicas, self.capacity_adjusted_max_replicas = least, most


def settings_of(file, tmp_path, **more):
    (tmp_path / "cluster.toml").write_text(CLUSTER)
    return {
        "cluster": str(tmp_path / "cluster.toml"), "snapshot": str(file.path), "period_s": 0.5,
        "trust": str(file.trust), "engine": "interpreted", **more,
    }  # fmt: skip


def test_the_target_stays_within_bounds_and_is_read_without_asking_the_policy(tmp_path):
    file = SnapshotFile(tmp_path)
    file.publish(BY_RATE.replace("1 + int(rate / 10.0)", "3").replace("return 1", "return 3"))
    settings = settings_of(file, tmp_path, period_s=30.0)
    counts = shared_counts(settings)
    assert shared_counts(settings) is counts
    assert counts.target(Context(target=5)) == (5, {})
    until(lambda: counts.thread.wanted)
    asked = len(counts.thread.planner.recent)
    for _ in range(100):
        target, state = counts.target(Context(most=8))
    assert (target, state["sequence"]) == (3, 1)
    assert counts.target(Context(most=2))[0] == 2
    assert counts.target(Context(least=4))[0] == 4
    assert len(counts.thread.planner.recent) == asked
    counts.thread.stop()


def deploy(file, tmp_path):
    from ray import serve
    from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

    from serving_adapter.ray_serve.emulated import application

    router = {"snapshot": str(file.path), "trust": str(file.trust), "engine": "interpreted",
              "decisions": str(tmp_path / "decisions")}  # fmt: skip
    policy = AutoscalingPolicy(
        policy_function="serving_adapter.ray_serve.autoscaling:PolicyAutoscaler",
        policy_kwargs=settings_of(
            file, tmp_path, period_s=2.0, plans=str(tmp_path / "plans.jsonl")
        ),
    )
    scaling = AutoscalingConfig(min_replicas=1, max_replicas=3, upscale_delay_s=0,
                                downscale_delay_s=0, policy=policy)  # fmt: skip
    app = application({
        "engine": {"time_scale": 10.0},
        "options": {
            "name": "Scaled", "max_ongoing_requests": 16, "autoscaling_config": scaling,
            "ray_actor_options": {"num_cpus": 0.1},
            "request_router_config": RequestRouterConfig(
                request_router_class=ROUTER, request_router_kwargs=router),
        },
    })  # fmt: skip
    return serve.run(app, name="scaled", route_prefix="/scaled")


def running(serve_api):
    deployment = serve_api.status().applications["scaled"].deployments["Scaled"]
    return deployment.replica_states.get("RUNNING", 0)


async def test_replica_counts_are_decided_by_the_policys_planner_and_no_request_fails(
    serve, tmp_path
):
    from ray import serve as api

    file = SnapshotFile(tmp_path)
    file.publish(BY_FORECAST)
    deploy(file, tmp_path)
    served, stop = [], asyncio.Event()

    async def client(session, pause_s):
        while not stop.is_set():
            async with session.post(serve.url + "/scaled", json=BODY) as answer:
                served.append(answer.status)
            await asyncio.sleep(pause_s)

    async def count_is(wanted):
        await asyncio.to_thread(until, lambda: running(api) == wanted, 100)

    async with aiohttp.ClientSession() as session:
        slow = asyncio.create_task(client(session, 0.5))
        await count_is(1)
        fast = [asyncio.create_task(client(session, 0.1)) for _ in range(6)]
        await count_is(3)
        stop.set()
        await asyncio.gather(slow, *fast)
        stop.clear()
        slow = asyncio.create_task(client(session, 0.5))
        await count_is(1)
        stop.set()
        await slow
    assert set(served) == {200}
    plans = [line for line in (tmp_path / "plans.jsonl").read_text().splitlines() if line]
    assert plans
    digest = next(iter(file.named[1]))
    routed = [one for log in lines_of(tmp_path / "decisions").values() for one in log]
    assert any(digest in line and '"planned"' in line for line in plans)
    assert digest in {one["digest"] for one in routed}
    assert len({one["replica"] for one in routed}) >= 3
