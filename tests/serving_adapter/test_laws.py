"""Laws 8, 9 and 11 over real HTTP: swaps lose nothing, each decision is named, text is not kept."""

import asyncio
import logging
from functools import partial

import aiohttp
from aiohttp import web

from serving_adapter.activation import prepare_policy
from serving_adapter.admission import Admission
from serving_adapter.decision import BUILT_IN_DIGEST
from serving_adapter.emulation.decision_audit import DecisionLog, audit
from serving_adapter.emulation.load import LoadRequest, replay
from serving_adapter.emulation.swap_load import Publisher, finished_by, swap_under_load, to_file
from serving_adapter.safety.dumps import dump_text
from serving_adapter.safety.ejection import Ejection, EjectionKind

REQUESTS = [LoadRequest(0.06 * index, 20 + index % 7, 4 + index % 9) for index in range(10)]
LOAD = [
    LoadRequest(0.06 * index, 20 + index % 7, 4 + index % 9, session=index % 50)
    for index in range(200)
]


def flaky() -> web.Application:
    """An engine that answers every request with 500, so that each goes to another one."""

    async def fail(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "broken"}}, status=500)

    app = web.Application()
    app.router.add_post("/v1/completions", fail)
    return app


async def test_laws_8_and_9_swaps_under_load_lose_nothing_and_every_decision_is_approved(
    serve, stand, new_emulator, signing_key, tmp_path
):
    """A swap every 50 ms through signed files, one policy in three faulty only live; retries."""
    good = [await serve(new_emulator().application()) for _ in range(3)]
    publisher, log = Publisher(signing_key), DecisionLog("gateway")
    gate = await stand(
        *good,
        await serve(flaky()),
        prepare=partial(prepare_policy, engine="interpreted"),
        admission=Admission(publisher.trusted, state=tmp_path),
        state=tmp_path,
    )
    gate.host.on_decision = log.add
    path = tmp_path / "active.json"
    following = asyncio.create_task(gate.host.follow(path, poll_s=0.005))
    served, authors = [], set()
    while len(authors) < 4 or gate.host.metrics.ejections(EjectionKind.ERROR) < 3:
        assert len(served) < 8 * len(LOAD)  # a machine with other work to do may need some rounds
        load = replay(LOAD, gate.url, model="tiny", time_scale=10.0, max_wall_s=30.0)
        report = await swap_under_load(load, publisher, to_file(path, signing_key))
        served += report.served
        authors = {one.author for one in log.decisions}
    following.cancel()
    records = await gate.recorded(len(served))
    verdict = audit(log.decisions, publisher.snapshots, served, await finished_by(good))
    assert verdict.violations == ()
    assert len(records) == len(served)
    assert any(one.attempts > 1 for one in records)


async def test_law_9_no_client_sees_the_sequence_go_back(serve, stand, new_emulator):
    gate = await stand(await serve(new_emulator().application()))
    seen = []
    for sequence in range(1, 15):
        await gate.host.swap(f"first-{sequence}", sequence)
        async with gate.ask() as answer:
            seen.append(int(answer.headers["X-Evolver-Sequence"]))
    assert seen == sorted(seen)


async def test_law_8_the_built_in_serves_when_every_policy_is_faulty(serve, stand, new_emulator):
    gate = await stand(await serve(new_emulator().application()))
    await gate.host.swap("faulty", 1)
    served = await replay(REQUESTS, gate.url, model="tiny", time_scale=10.0)
    assert all(one.ok for one in served)
    assert {one.policy for one in served} == {BUILT_IN_DIGEST}


CANARY = "canary-8c1f"


async def test_law_11_no_request_text_in_logs_metrics_records_or_recent_inputs(
    serve, stand, new_emulator, caplog
):
    caplog.set_level(logging.DEBUG)
    gate = await stand(await serve(new_emulator().application()))
    await gate.host.swap("first", 1)
    body = {
        "model": "tiny",
        "messages": [{"role": CANARY, "content": f"say {CANARY}", "name": CANARY}],
        "prompt": CANARY,
        "user": CANARY,
        "max_tokens": 2,
        "stop": [CANARY],
        "metadata": {CANARY: CANARY},
        "tools": [{"type": "function", "function": {"name": CANARY}}],
    }
    headers = dict.fromkeys(("X-Session-Id", "X-Tenant-Id", "User-Agent", "Referer"), CANARY)
    headers["Authorization"] = f"Bearer {CANARY}"
    chat = f"{gate.url}/v1/chat/completions?{CANARY}={CANARY}"
    for sent in (body, {**body, "model": CANARY}, {**body, "max_tokens": CANARY}):
        async with gate.client.post(chat, json=sent, headers=headers) as answer:
            assert answer.status in (200, 404, 400)
            assert CANARY not in await answer.text()
    for raw in (f"{CANARY} {{".encode(), f'"{CANARY}"'.encode()):
        async with gate.client.post(chat, data=raw, headers=headers) as answer:
            assert answer.status == 400
    async with gate.client.get(f"{gate.url}/v1/{CANARY}") as answer:
        assert answer.status == 404
    await send_garbage(gate.url)
    page = await (await gate.client.get(gate.url + "/metrics")).text()
    ejection = Ejection(EjectionKind.ERROR, "index", "a" * 64, 1, 1, 1, 0.0)
    dump = dump_text(ejection, gate.host.metrics.counters(), gate.host.recent)
    kept = [page, repr(gate.records), repr(gate.host.recent), caplog.text, dump]
    kept += [repr(record.__dict__) for record in caplog.records]
    assert gate.records
    assert gate.host.recent
    assert not [text for text in kept if CANARY in text]
    assert not [given for given in gate.host.recent if CANARY.encode() in given.request]


async def send_garbage(url: str) -> None:
    """A request that the HTTP parser refuses, which servers like to log with its bytes."""
    port = aiohttp.client.URL(url).port
    for line in (b"GET /%s HTTP/1.1\r\nBad Header\x00%s\r\n\r\n", b"\x00%s %s\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(line % (CANARY.encode(), CANARY.encode()))
        await reader.read()
        writer.close()
        await writer.wait_closed()
