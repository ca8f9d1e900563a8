"""Header-only mode: another gateway moves the bytes, and is told which of its workers to take."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess

import aiohttp
import pytest
from aiohttp import web

from serving_adapter.gateway.upstream import Kind, Upstream


class StandIn:
    """Routes by header to workers in process, as SMG or Dynamo's frontend does."""

    def __init__(self, kind, names):
        self.kind, self.names, self.seen = kind, list(names), []
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
        name = self.names[int(told)] if self.kind is Kind.SMG else told
        self.seen.append(name)
        if name in self.dead:
            return web.json_response({"error": {"message": "gone"}}, status=502)
        return web.json_response({"by": name})


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


async def test_a_worker_keeps_its_name_when_its_place_changes(serve, stand, upstream):
    gate = await behind(serve, stand, upstream)
    await gate.host.swap("first", 1)
    first = await answered(gate)
    upstream.names.reverse()
    await gate.gateway.engines.follow_upstream()
    assert await answered(gate) == first


async def test_workers_that_leave_and_come_are_followed(serve, stand, upstream):
    gate = await behind(serve, stand, upstream)
    await gate.host.swap("first", 1)
    gone = upstream.names.pop(0)
    async with asyncio.timeout(5):
        while len(gate.gateway.engines.ids()) == 3:
            await asyncio.sleep(0.005)
    assert await answered(gate) == upstream.names[0]
    upstream.names.append(gone)
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


@pytest.mark.skipif(
    shutil.which(os.environ.get("EVOLVER_SMG", "smg")) is None,
    reason="SMG is not installed: EVOLVER_SMG names its program",
)
async def test_a_real_smg_takes_the_worker_that_the_policy_chose(
    serve, stand, new_emulator, tmp_path
):
    workers = [await serve(new_emulator().application()) for _ in range(3)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [os.environ.get("EVOLVER_SMG", "smg"), "launch", "--backend", "vllm", "--policy",
               "consistent_hashing", "--host", "127.0.0.1", "--port", str(port),
               "--worker-urls", *workers]  # fmt: skip
    with (tmp_path / "smg.log").open("wb") as log:
        smg = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=tmp_path,
            start_new_session=True,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession() as client, asyncio.timeout(60):
            while True:
                try:
                    async with client.get(url + "/workers") as answer:
                        if len((await answer.json())["workers"]) == 3:
                            break
                except (aiohttp.ClientError, KeyError, ValueError):
                    pass
                await asyncio.sleep(0.1)
        gate = await stand(parts={"upstream": Upstream(url, Kind.SMG)}, scrape_s=0.1)
        engines = gate.gateway.engines
        for word in ("first", "last"):
            await gate.host.swap(word, gate.host.live.sequence + 1)
            async with gate.ask() as answer:
                assert answer.status == 200
                chosen = int(answer.headers["X-Evolver-Instance"])
            async with gate.client.get(engines._engines[chosen].scraped + "/metrics") as page:
                text = await page.text()
                done = [line for line in text.splitlines() if "request_success_total{" in line]
                assert sum(float(line.split()[-1]) for line in done) == 1
    finally:
        os.killpg(smg.pid, signal.SIGTERM)
        smg.wait(10)
