"""Nodes watched through the official Kubernetes client, which talks HTTP to a recorded API."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from evolver.daemon import sources_kubernetes as under_test
from evolver.daemon.sources_kubernetes import KubernetesNodes
from serving_adapter.web_server import LOOPBACK, bound_port, new_runner
from telemetry.cluster_events import Change
from telemetry.cluster_state import LiveCluster

client_library = pytest.importorskip(
    "kubernetes", reason="needs the extra kubernetes: `make test-kubernetes`"
)


def node(name, version, ready="True", **spec):
    return {
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "resourceVersion": str(version), "uid": name,
                     "labels": {"nvidia.com/gpu.product": "H100",
                                "topology.kubernetes.io/zone": "z1"}},
        "spec": spec,
        "status": {"allocatable": {"nvidia.com/gpu": "8", "cpu": "96"},
                   "conditions": [{"type": "Ready", "status": ready}]},
    }  # fmt: skip


class RecordedNodes:
    """Lists what there is, then sends what a test puts into the queue; `refuse` lists with 403."""

    def __init__(self, *nodes):
        self.nodes = list(nodes)
        self.queue = asyncio.Queue()
        self.lists = 0
        self.refuse = False

    async def answer(self, request):
        if "watch" not in request.query:
            self.lists += 1
            if self.refuse:
                return web.json_response({"kind": "Status", "code": 403}, status=403)
            return web.json_response({"kind": "NodeList", "apiVersion": "v1",
                                      "metadata": {"resourceVersion": "10"},
                                      "items": self.nodes})  # fmt: skip
        stream = web.StreamResponse()
        await stream.prepare(request)
        while (told := await self.queue.get()) is not None:
            await stream.write(json.dumps(told).encode() + b"\n")
        return stream


async def following(recorded, monkeypatch, test):
    monkeypatch.setattr(under_test, "AGAIN_S", 0.05)
    app = web.Application()
    app.router.add_get("/api/v1/nodes", recorded.answer)
    runner = new_runner(app, shutdown_timeout_s=0.1)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    configuration = client_library.client.Configuration()
    configuration.host = f"http://{LOOPBACK}:{bound_port(runner)}"
    configuration.retries = False
    source, cluster = KubernetesNodes(client_library.client.ApiClient(configuration)), LiveCluster()
    source.start()

    async def heard(count):
        found = []
        async with asyncio.timeout(20):
            while len(found) < count:
                found += source.poll(cluster)
                await asyncio.sleep(0.01)
        return {event.node.name: event.change for event in found}

    try:
        await test(heard, source)
    finally:
        recorded.queue.put_nowait(None)
        await asyncio.to_thread(source.close)
        await runner.cleanup()


async def test_nodes_are_listed_then_watched(monkeypatch):
    recorded = RecordedNodes(node("a", 1), node("b", 2), node("off", 3, ready="False"))

    async def test(heard, source):
        assert await heard(2) == {"a": Change.PRESENT, "b": Change.PRESENT}
        taint = [{"key": "aws-node-termination-handler/spot-itn", "effect": "NoSchedule"}]
        recorded.queue.put_nowait({"type": "MODIFIED", "object": node("a", 11, taints=taint)})
        assert await heard(1) == {"a": Change.LEAVING}
        recorded.queue.put_nowait({"type": "DELETED", "object": node("a", 12)})
        recorded.queue.put_nowait({"type": "MODIFIED", "object": node("b", 13, ready="Unknown")})
        recorded.queue.put_nowait({"type": "ADDED", "object": node("c", 14)})
        assert await heard(3) == {
            "a": Change.GONE, "b": Change.FAILED, "c": Change.PRESENT}  # fmt: skip
        assert recorded.lists == 1

    await following(recorded, monkeypatch, test)


async def test_a_watch_that_is_too_old_lists_again(monkeypatch):
    recorded = RecordedNodes(node("a", 1), node("b", 2))
    gone = {"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired",
            "message": "too old"}  # fmt: skip

    async def test(heard, source):
        await heard(2)
        recorded.nodes = [node("b", 20)]
        for _ in range(3):  # the client itself tries once more
            recorded.queue.put_nowait({"type": "ERROR", "object": gone})
        assert await heard(1) == {"a": Change.FAILED}
        assert recorded.lists >= 2

    await following(recorded, monkeypatch, test)


async def test_a_cluster_that_refuses_is_asked_again(monkeypatch):
    recorded = RecordedNodes(node("a", 1))
    recorded.refuse = True

    async def test(heard, source):
        async with asyncio.timeout(20):
            while "403" not in source.complaint:
                await asyncio.sleep(0.01)
        recorded.refuse = False
        assert await heard(1) == {"a": Change.PRESENT}

    await following(recorded, monkeypatch, test)
