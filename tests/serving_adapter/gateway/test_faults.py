"""What goes wrong around a gateway: no request is lost that an engine could have served."""

import asyncio
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web

from policy_store.snapshot import write_snapshot
from serving_adapter.decision import BUILT_IN_DIGEST
from serving_adapter.emulation.decision_audit import DecisionLog, audit
from serving_adapter.emulation.faults import Fault, FaultKind
from serving_adapter.emulation.load import LoadRequest, replay
from serving_adapter.request_log import RequestOutcome
from serving_adapter.safety.limits import UNWATCHED_ARM
from serving_adapter.web_server import LOOPBACK, bound_port, new_runner

LOAD = [LoadRequest(0.1 * n, 20, 4, session=n) for n in range(60)]
QUICK = replace(UNWATCHED_ARM, poll_s=0.005)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Scrapes are given up soon, so that a test need not wait."""
    monkeypatch.setattr("serving_adapter.gateway.engines.SCRAPE_TIMEOUT_S", 0.2)


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def load(gate, requests=LOAD):
    return await replay(requests, gate.url, model="tiny", time_scale=10.0, max_wall_s=30.0)


async def page(gate) -> str:
    return await (await gate.client.get(gate.url + "/metrics")).text()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=FaultKind.ERROR),
        Fault(kind=FaultKind.ERROR, value=0.5),
        Fault(kind=FaultKind.HUNG),
        Fault(kind=FaultKind.FLAP, value=0.1),
        Fault(kind=FaultKind.CRASH, after_s=0.2),
    ],
    ids=str,
)
async def test_what_one_engine_does_costs_no_request_that_another_can_serve(
    serve, stand, new_emulator, fault
):
    """Every request goes to the faulty engine first; a crash may break answers that had begun."""
    bad, good = new_emulator(), new_emulator()
    gate = await stand(await serve(bad.application()), await serve(good.application()))
    await gate.host.swap("first", 1)
    bad.faults.add(fault)
    served = await load(gate)
    records = await gate.recorded(len(LOAD))
    lost = [one for one in served if not one.ok]
    broken = [one for one in records if one.outcome is RequestOutcome.BROKEN]
    assert len(records) == len(LOAD)
    assert len(lost) == len(broken)
    if fault.kind in (FaultKind.ERROR, FaultKind.HUNG):
        assert lost == []
    assert any(one.attempts > 1 or one.instance_id == 1 for one in records)


async def test_an_engine_that_shows_its_pages_and_computes_nothing_loses_what_waits_there(
    serve, stand, new_emulator, monkeypatch, caplog
):
    monkeypatch.setattr("serving_adapter.gateway.silence.AWAY_S", 0.5)
    bad, good = new_emulator(), new_emulator()
    gate = await stand(
        await serve(bad.application()), await serve(good.application()), silence_s=0.5
    )
    await gate.host.swap("first", 1)
    assert all(one.ok for one in await load(gate, LOAD[:30]))
    bad.faults.add(Fault(kind=FaultKind.STALLED))
    served = await load(gate, LOAD[30:40])
    records = (await gate.recorded(40))[30:]
    assert [one.ok for one in served] == [True] * 10
    assert {one.instance_id for one in records} == {1}
    assert {one.attempts for one in records} >= {2}
    assert "engine 0 shows its pages and computes nothing" in caplog.text
    bad.faults.clear()
    await until(lambda: gate.host.table.is_open(0))
    async with gate.ask() as answer:
        assert answer.status == 200


async def test_an_engine_that_is_not_there_is_no_attempt_so_the_last_of_many_serves(serve, stand):
    async def fine(_: web.Request) -> web.Response:
        return web.json_response({})

    app = web.Application()
    app.router.add_post("/v1/completions", fine)
    nobody = [f"http://127.0.0.1:{port}" for port in range(1, 7)]
    gate = await stand(*nobody, await serve(app), scrape_s=60.0)
    await gate.host.swap("first", 1)
    async with gate.ask() as answer:
        assert answer.status == 200
    (record,) = await gate.recorded(1)
    assert (record.attempts, record.instance_id) == (7, 6)


async def test_an_answer_that_breaks_in_the_middle_is_cut_and_counted(serve, stand, new_emulator):
    engine = new_emulator(time_scale=0.2)
    gate = await stand(await serve(engine.application()))
    engine.faults.add(Fault(kind=FaultKind.DROP))
    async with gate.ask(stream=True, max_tokens=64) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    (record,) = await gate.recorded(1)
    assert record.outcome is RequestOutcome.BROKEN
    assert 'outcome="broken"} 1.0' in await page(gate)


async def test_all_engines_gone_is_said_at_once_and_all_back_serves_again(stand, new_emulator):
    runner = new_runner(new_emulator().application(), shutdown_timeout_s=0.1)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    port = bound_port(runner)
    gate = await stand(f"http://{LOOPBACK}:{port}")
    await gate.host.swap("first", 1)
    await runner.cleanup()
    await until(lambda: not gate.host.table.is_open(0))
    async with gate.ask() as answer, gate.client.get(gate.url + "/readyz") as ready:
        assert (answer.status, answer.headers["Retry-After"], ready.status) == (503, "1", 503)
    assert "evolver_engines_open 0" in await page(gate)
    back = new_runner(new_emulator().application(), shutdown_timeout_s=0.1)
    await back.setup()
    await web.TCPSite(back, LOOPBACK, port).start()
    await until(lambda: gate.host.table.is_open(0))
    assert all(one.ok for one in await load(gate, LOAD[:10]))
    await back.cleanup()


@pytest.fixture
def following(serve, stand, new_emulator, new_admission, tmp_path):
    """A gateway that follows a snapshot file, as under a control plane."""
    tasks = []

    async def build(**admission):
        gate = await stand(
            await serve(new_emulator().application()),
            limits=QUICK,
            state=tmp_path / "state",
            admission=new_admission(state=tmp_path / "state", **admission),
        )
        path = tmp_path / "active.json"
        tasks.append(asyncio.create_task(gate.host.follow(path, poll_s=0.005)))
        return gate, path

    yield build
    for task in tasks:
        task.cancel()


def replaced(path, content: bytes) -> None:
    path.with_suffix(".new").write_bytes(content)
    os.replace(path.with_suffix(".new"), path)


async def test_a_snapshot_that_is_corrupt_unsigned_or_older_changes_nothing_and_is_counted(
    following, snapshot_of, signing_key, word_digest
):
    gate, path = await following()
    write_snapshot(path, snapshot_of(3, "last"), signing_key)
    await until(lambda: gate.host.live.sequence == 3)
    older = path.read_bytes()
    write_snapshot(path, snapshot_of(7, "first"), signing_key)
    await until(lambda: gate.host.live.sequence == 7)
    good = path.read_bytes()
    unsigned = good[: good.index(b',"signature":')] + b',"signature":null}'
    wrong = {
        "SnapshotDamaged": [good[:-9], b"", b"\xff" * 100],
        "SnapshotForged": [good.replace(b'"sequence":7', b'"sequence":8')],
        "SnapshotStale": [older],
    }
    for reason, contents in wrong.items():
        for number, content in enumerate(contents, 1):
            replaced(path, content)
            await until(lambda r=reason, n=number: gate.host.metrics.refusals(r) == n)
    replaced(path, unsigned)
    await until(lambda: gate.host.metrics.refusals("SnapshotUnsigned")
                + gate.host.metrics.refusals("SnapshotDamaged") == 4)  # fmt: skip
    served = await load(gate, LOAD[:10])
    assert {(one.ok, one.sequence, one.policy) for one in served} == {
        (True, 7, word_digest("first"))
    }
    assert 'evolver_snapshots_refused_total{reason="SnapshotStale"} 1.0' in await page(gate)


async def test_store_and_control_plane_gone_stop_no_request(following, snapshot_of, signing_key):
    """Everything the control plane ever wrote is deleted under load."""
    gate, path = await following()
    write_snapshot(path, snapshot_of(7, "first"), signing_key)
    await until(lambda: gate.host.live.sequence == 7)
    loading = asyncio.create_task(load(gate))
    await asyncio.sleep(0.1)
    path.unlink()
    served = await loading
    assert {(one.ok, one.sequence) for one in served} == {(True, 7)}


async def test_a_clock_that_leaps_under_load_ejects_nobody_and_fails_nothing(
    following, snapshot_of, signing_key
):
    now = [datetime(2026, 1, 1, 1, tzinfo=UTC)]
    gate, path = await following(clock=lambda: now[0])
    write_snapshot(path, snapshot_of(7, "first"), signing_key)
    await until(lambda: gate.host.live.sequence == 7)
    loading = asyncio.create_task(load(gate))
    for days in (400, -800):
        now[0] += timedelta(days=days)
        await asyncio.sleep(0.15)
    served = await loading
    assert {(one.ok, one.sequence) for one in served} == {(True, 7)}
    assert gate.host.slot.latched == ()
    assert 'evolver_clock_leaps_total{direction="forward"} 1.0' in await page(gate)


async def test_a_host_that_restarts_during_a_canary_goes_on_with_it(
    following, stand, serve, new_emulator, new_admission, snapshot_of, signing_key, tmp_path
):
    """Its sessions draw anew, as they are numbered under a key of the process; latches stay."""
    gate, path = await following()
    write_snapshot(path, snapshot_of(7, "first", canary=("last", 0.5)), signing_key)
    await until(lambda: gate.host.live.sequence == 7)
    assert all(one.ok for one in await load(gate, LOAD[:20]))
    gate.host.slot.eject(gate.host.live.active, "error", "a test")
    again, _ = await following()
    await until(lambda: again.host.live.sequence == 7)
    log = DecisionLog("again")
    again.host.on_decision = log.add
    served = await load(again)
    snapshot = snapshot_of(7, "first", canary=("last", 0.5))
    assert audit(log.decisions, [snapshot], served).violations == ()
    assert {one.author for one in log.decisions} == {"canary", "built_in"}
    assert BUILT_IN_DIGEST in {one.policy for one in served}
