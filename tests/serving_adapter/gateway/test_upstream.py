"""Header-only mode: another gateway moves the bytes, and is told which of its workers to take."""

import asyncio
import os
import shutil
import socket
import subprocess

import pytest
from aiohttp import web

from serving_adapter.errors import EngineFailed
from serving_adapter.gateway.upstream import WORKER_HEADERS, Kind, Upstream


class StandIn:
    """Routes by header to workers in process, as SMG or Dynamo's frontend does."""

    def __init__(self, kind, names):
        self.kind, self.names, self.seen = kind, list(names), []
        self.places = list(names)
        self.dead = set()
        self.page = None

    def application(self):
        app = web.Application()
        app.router.add_get("/workers" if self.kind is Kind.SMG else "/health", self.workers)
        app.router.add_post("/v1/{rest:.*}", self.forward)
        return app

    async def workers(self, _):
        if self.page is not None:
            return web.Response(body=self.page)
        if self.kind is Kind.SMG:
            return web.json_response({"workers": [{"url": name} for name in self.names]})
        of = [{"instance_id": int(name), "endpoint": "generate"} for name in self.names]
        return web.json_response({"instances": [*of, {"instance_id": 9, "endpoint": "clear"}]})

    async def forward(self, request):
        told = request.headers[Upstream("", self.kind).header]
        name = self.places[int(told)] if self.kind is Kind.SMG else told
        self.seen.append(name)
        if name in self.dead:
            return web.json_response({"error": {"message": "gone"}}, status=502)
        by = {"x-smg-routed-worker-id": name} if self.kind is Kind.SMG else {}
        return web.json_response({"by": name}, headers=by)


SMG = ("http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3")
DYNAMO = ("7587889", "7587890", "7587893")


@pytest.fixture(params=[(Kind.SMG, SMG), (Kind.DYNAMO, DYNAMO)], ids=["smg", "dynamo"])
def upstream(request):
    return StandIn(*request.param)


async def behind(serve, stand, upstream, **options):
    url = await serve(upstream.application())
    return await stand(parts={"upstream": Upstream(url, upstream.kind, **options)}, scrape_s=0.01)


async def answered(gate):
    async with gate.ask() as answer:
        assert answer.status == 200, await answer.text()
        return (await answer.json())["by"]


async def test_the_policys_choice_arrives_as_a_header(serve, stand, upstream):
    gate = await behind(serve, stand, upstream)
    await gate.host.swap("first", 1)
    first = await answered(gate)
    await gate.host.swap("last", 2)
    assert (first, await answered(gate)) == (upstream.names[0], upstream.names[-1])


async def test_places_that_the_list_does_not_tell_are_learned_from_answers(
    serve, stand, upstream
):
    upstream.places = [*upstream.places[1:], upstream.places[0]]
    gate = await behind(serve, stand, upstream)
    for _ in range(2):
        by = {}
        for number in gate.gateway.engines.ids():
            others = frozenset(gate.gateway.engines.ids()) - {number}
            for other in others:
                gate.host.table.set_draining(other, True)
            by[number] = await answered(gate)
            for other in others:
                gate.host.table.set_draining(other, False)
        await gate.gateway.engines.follow_upstream()
    assert list(by.values()) == upstream.names


async def test_workers_that_leave_and_come_are_followed(serve, stand, upstream):
    gate = await behind(serve, stand, upstream)
    await gate.host.swap("first", 1)
    gone = upstream.names.pop(0)
    upstream.places.remove(gone)
    async with asyncio.timeout(5):
        while len(gate.gateway.engines.ids()) == 3:
            await asyncio.sleep(0.005)
    assert await answered(gate) == upstream.names[0]
    upstream.names.append(gone)
    upstream.places.append(gone)
    async with asyncio.timeout(5):
        while len(gate.gateway.engines.ids()) == 2:
            await asyncio.sleep(0.005)
    assert await answered(gate) == upstream.names[0]


async def test_a_worker_that_fails_is_avoided_within_the_request(serve, stand, upstream):
    gate = await behind(serve, stand, upstream)
    await gate.host.swap("first", 1)
    upstream.dead.add(upstream.names[0])
    assert await answered(gate) == upstream.names[1]
    assert upstream.seen == upstream.names[:2]


async def test_only_the_workers_that_the_operator_names(serve, stand, upstream):
    name = upstream.names[1]
    gate = await behind(serve, stand, upstream, only=frozenset({name}))
    assert {await answered(gate) for _ in range(3)} == {name}


@pytest.mark.parametrize("page", [b"", b"[[", b"[1]", b'{"workers": 3, "instances": "x"}'])
async def test_a_list_that_is_none_changes_nothing_and_ends_readiness(
    serve, stand, upstream, page
):
    gate = await behind(serve, stand, upstream)
    upstream.page = page
    async with asyncio.timeout(5):
        while gate.gateway.engines.open_count():
            await asyncio.sleep(0.005)
    assert len(gate.gateway.engines.ids()) == 3
    assert await answered(gate) in upstream.names
    upstream.page = None
    async with asyncio.timeout(5):
        while not gate.gateway.engines.open_count():
            await asyncio.sleep(0.005)


SMG_PROGRAM = shutil.which(os.environ.get("EVOLVER_SMG", "smg"))


@web.middleware
async def as_vllm(request, handler):
    """SMG asks who owns the models to know what kind of engine it has before it."""
    if request.path != "/v1/models":
        return await handler(request)
    return web.json_response({"data": [{"id": "tiny", "object": "model", "owned_by": "vllm"}]})


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
async def smg(serve, new_emulator, tmp_path, client):
    """A real SMG before three emulated engines; its URL."""
    workers = []
    for _ in range(3):
        app = new_emulator().application()
        app.middlewares.append(as_vllm)
        workers.append(await serve(app))
    port, metrics_port = free_ports(2)
    command = [SMG_PROGRAM, "launch", "--backend", "vllm", "--policy", "consistent_hashing",
               "--host", "127.0.0.1", "--port", port, "--prometheus-host", "127.0.0.1",
               "--prometheus-port", metrics_port, "--worker-urls", *workers]  # fmt: skip
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, cwd=tmp_path) as smg:
        try:
            url = f"http://127.0.0.1:{port}"
            async with asyncio.timeout(30):
                while not await ready(client, url, len(workers)):
                    await asyncio.sleep(0.1)
            yield url
        finally:
            smg.kill()


async def ready(client, url, count):
    try:
        return len(await Upstream(url, Kind.SMG).workers(client)) == count
    except EngineFailed:
        return False


async def served(client, url):
    """Requests that an engine has answered."""
    async with client.get(url + "/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(one.split()[-1]) for one in lines if "request_success_total{" in one)


@pytest.mark.skipif(not SMG_PROGRAM, reason="SMG is not installed: EVOLVER_SMG names its program")
async def test_a_real_smg_takes_the_worker_that_the_policy_chose(stand, smg, client):
    upstream = Upstream(smg, Kind.SMG)
    gate = await stand(parts={"upstream": upstream}, scrape_s=0.1)
    workers = await upstream.workers(client)
    for word, worker in (("first", workers[0]), ("last", workers[-1])):
        await gate.host.swap(word, gate.host.live.sequence + 1)
        for _ in range(3):  # the first may have to learn the worker's place
            before = await served(client, worker.scraped)
            async with gate.ask(prompt="x") as answer:
                assert answer.status == 200
        assert await served(client, worker.scraped) == before + 1


async def test_a_client_names_no_worker_in_whatever_words(serve, stand, upstream):
    seen = []

    async def forward(request):
        seen.append(request.headers)
        return web.json_response({})

    upstream.forward = forward
    gate = await behind(serve, stand, upstream)
    named = dict.fromkeys(WORKER_HEADERS, "6") | {"X-Mark": "mine"}
    url = gate.url + "/v1/chat/completions"
    async with gate.client.post(url, json={}, headers=named) as answer:
        assert answer.status == 200
    ours = Upstream("", upstream.kind).header
    (headers,) = seen
    assert headers.getall(ours) != ["6"]
    assert headers["X-Mark"] == "mine"
    assert {name for name in WORKER_HEADERS if name in headers} == {ours.lower()}


async def test_a_list_from_elsewhere_is_not_gone_for(serve, stand, upstream):
    asked = []

    async def elsewhere(request):
        asked.append(request.path)
        return await StandIn.workers(upstream, request)

    away = web.Application()
    away.router.add_get("/{rest:.*}", elsewhere)
    url = await serve(away)

    async def workers(_):
        raise web.HTTPFound(url + "/secrets")

    upstream.workers = workers
    gate = await behind(serve, stand, upstream)
    assert (await gate.client.get(gate.url + "/readyz")).status == 503
    assert asked == []
