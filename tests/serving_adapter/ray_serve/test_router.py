"""Emulated engines in Ray Serve under load, a swap every 50 ms, one policy in three faulty."""

import asyncio
import threading

import aiohttp
import pytest
from serve_logs import lines_of, until
from snapshot_files import SnapshotFile

from serving_adapter.decision import BUILT_IN_DIGEST
from serving_adapter.process_report import living_reports

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own deprecations are not ours to mend
ROUTER = "serving_adapter.ray_serve.router.PolicyRequestRouter"
BODY = {"prompt": "a short prompt", "max_tokens": 4}
FIRST = '''
"""The first replica there is."""

SEQUENCE = {sequence}


def route(request, instances, memory):
    return instances[0].id
'''
FEWEST = '''
"""The replica with the fewest requests."""

SEQUENCE = {sequence}


def route(request, instances, memory):
    best, fewest = instances[0].id, INF
    for inst in instances:
        if inst.running_requests < fewest:
            best, fewest = inst.id, inst.running_requests
    return best
'''
FAULTY = '''
"""Divides by what is zero, but not in a smoke test, where replicas have no known seats."""

SEQUENCE = {sequence}


def route(request, instances, memory):
    seats = instances[0].max_num_seqs
    if seats > 0:
        return instances[0].id // (seats - seats)
    return instances[0].id
'''
ONE_WORD = '''
"""{word} every request."""


def route(request, instances, memory):
    return {word}
'''


def deploy(name, file, tmp_path, **options):
    from ray import serve
    from ray.serve.config import RequestRouterConfig

    from serving_adapter.ray_serve.emulated import application

    settings = {
        "snapshot": str(file.path), "trust": str(file.trust), "engine": "interpreted",
        "decisions": str(tmp_path / "decisions"), "poll_s": 0.01,
    }  # fmt: skip
    router = RequestRouterConfig(
        request_router_class=ROUTER, request_router_kwargs=settings | options,
        request_routing_stats_period_s=0.2,
    )  # fmt: skip
    app = application({
        "engine": {"time_scale": 10.0},
        "options": {"num_replicas": 3, "max_ongoing_requests": 16, "request_router_config": router,
                    "ray_actor_options": {"num_cpus": 0.1}},
    })  # fmt: skip
    return serve.run(app, name=name, route_prefix=f"/{name}")


class Swapper(threading.Thread):
    """Publishes a policy every 50 ms: two sound ones, then one that is faulty live."""

    def __init__(self, file):
        super().__init__(daemon=True)
        self.file, self.over = file, threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            sequence = self.file.sequence + 1
            text = (FIRST, FEWEST, FAULTY)[sequence % 3]
            self.file.publish(text.format(sequence=sequence), FEWEST.format(sequence=0))

    def stop(self):
        self.over.set()
        self.join()


async def over_http(session, url):
    async with session.post(url, json=BODY) as answer:
        return answer.status == 200 and (await answer.json())["usage"]["completion_tokens"] == 4


async def over_handle(handle):
    return (await handle.generate.remote(BODY))["usage"]["completion_tokens"] == 4


async def load(url, handle, seconds, clients):
    """Clients that ask one after the other, over HTTP and a handle in turn, for a while."""
    end_s = asyncio.get_running_loop().time() + seconds
    async with aiohttp.ClientSession() as session:

        async def client(number):
            served = []
            while asyncio.get_running_loop().time() < end_s:
                ask = over_http(session, url) if number % 2 else over_handle(handle)
                served.append(await asyncio.wait_for(ask, 60))
            return served

        found = await asyncio.gather(*(client(number) for number in range(clients)))
    return [one for served in found for one in served]


async def test_laws_8_and_9_nothing_fails_and_no_request_mixes_two_versions(serve, tmp_path):
    file = SnapshotFile(tmp_path)
    file.publish(FEWEST.format(sequence=1))
    handle = deploy("swaps", file, tmp_path)
    await load(serve.url + "/swaps", handle, 1, 2)
    swapping = Swapper(file)
    swapping.start()
    try:
        served = await load(serve.url + "/swaps", handle, 8, 12)
    finally:
        swapping.stop()
    assert served
    assert all(served)
    logs = until(lambda: lines_of(tmp_path / "decisions"))
    decisions = [one for log in logs.values() for one in log]
    assert len(logs) >= 2  # the proxy's and this process's
    assert len({one["request"] for one in decisions}) >= len(served)
    named = {0: {BUILT_IN_DIGEST}}
    named |= {number: digests | {BUILT_IN_DIGEST} for number, digests in file.named.items()}
    assert all(one["digest"] in named[one["sequence"]] for one in decisions)
    versions = {}
    for one in decisions:
        versions.setdefault((one["router"], one["request"]), set()).add(one["sequence"])
    assert all(len(seen) == 1 for seen in versions.values())
    for log in logs.values():
        first = {}
        for one in log:
            first.setdefault(one["request"], one["sequence"])
        assert list(first.values()) == sorted(first.values())
        assert len(set(first.values())) > 10
    assert {one["author"] for one in decisions} >= {"active", "last_good"}
    faults = [one for one in decisions if one["reason"] == "zero-division"]
    assert faults
    assert all(one["author"] == "last_good" for one in faults)


async def test_a_canary_is_compared_in_every_process_that_routes(serve, tmp_path):
    file, state = SnapshotFile(tmp_path), tmp_path / "state"
    file.publish(FEWEST.format(sequence=1), canary=(FIRST.format(sequence=1), 0.5))
    handle = deploy("trial", file, tmp_path, state=str(state))
    served = await load(serve.url + "/trial", handle, 5, 4)

    def compared():
        trials = [one.canary for one in living_reports(state) if one.canary is not None]
        told = sum(one.canary_requests + one.control_requests for one in trials)
        return trials if len(trials) >= 2 and told >= 0.9 * len(served) else None

    trials = until(compared)
    assert sum(one.canary_requests for one in trials) > 0
    assert sum(one.control_requests for one in trials) > 0
