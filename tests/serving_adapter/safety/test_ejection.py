"""Every kind of ejection on a live host under load: it fires, it is latched, no request fails.

The policies are sources in the contract's language where a policy can cause the fault at all; the
bounds are scaled down, the engines emulated, requests and answers real HTTP.
"""

import asyncio
import json
import os
import signal
import time
from dataclasses import dataclass, replace
from functools import partial

import pytest

from serving_adapter.activation import prepare_policy
from serving_adapter.decision import BUILT_IN_DIGEST
from serving_adapter.emulation.load import LoadRequest, replay
from serving_adapter.errors import SideProcessSlow, SnapshotRefused
from serving_adapter.gateway import engines
from serving_adapter.safety.dumps import MAX_DUMP_BYTES, dumps_in
from serving_adapter.safety.ejection import EjectionKind
from serving_adapter.safety.kill_switch import admin_application, admin_token, killed_by_signal
from serving_adapter.safety.latches import EVERYTHING, LatchFolder
from serving_adapter.safety.limits import UNWATCHED_ARM
from serving_adapter.side.side_process import SideProcesses

LOAD = [
    LoadRequest(0.04 * index, 20 + index % 7, 4 + index % 9, session=index) for index in range(300)
]
LIMITS = replace(UNWATCHED_ARM, poll_s=0.01, slow_call_s=0.5, stale_s=30.0)

FIRST = '''"""Everything goes to the engine with the lowest id."""

def route(request, instances, memory):
    best = instances[0].id
    for inst in instances:
        best = min(best, inst.id)
    return best
'''
INVALID = '''"""Sound but for one prompt length, which no smoke test has."""

def route(request, instances, memory):
    return 4711 if request.prompt_tokens == 24 else instances[0].id
'''
SLOW = '''"""Thinks long."""

def route(request, instances, memory):
    total = 0.0
    for step in range(3000):
        total += step
    return instances[0].id if total > 0.0 else HOLD
'''
HOLDING = '''"""Waits for a day that does not come, but lets the first requests pass."""

def route(request, instances, memory):
    memory[0] += 1.0
    return instances[0].id if memory[0] < 100.0 else HOLD
'''
LAST = '''"""Everything goes to the engine with the highest id, which is a slow one here."""

def route(request, instances, memory):
    best = instances[0].id
    for inst in instances:
        best = max(best, inst.id)
    return best
'''
prepare_interpreted = partial(prepare_policy, engine="interpreted")


@dataclass
class Case:
    """A gateway under load over a state folder."""

    gate: object
    state: object
    digest: str = ""

    @property
    def host(self):
        return self.gate.host

    async def load(self, requests=LOAD) -> list:
        return await replay(requests, self.gate.url, model="tiny", time_scale=10.0, max_wall_s=20.0)

    async def fires(self, kind: EjectionKind, requests=LOAD) -> None:
        """The policy is ejected for `kind` while all requests are answered in full."""
        for _ in range(5):  # a machine with other work to do may need more of it to be sure
            served = await self.load(requests)
            assert [one for one in served if not one.ok] == []
            if self.host.metrics.ejections(kind):
                break
        assert self.host.metrics.ejections(kind) == 1
        await until(lambda: dumps_in(self.state / "dumps"))
        (dump,) = dumps_in(self.state / "dumps")
        assert json.loads(dump.read_text())["ejection"]["kind"] == kind
        assert dump.stat().st_size <= MAX_DUMP_BYTES

    async def is_out(self, kind: EjectionKind, source: str) -> None:
        """What was ejected is on record and cannot come back under a higher sequence."""
        assert self.host.live.active is None
        assert LatchFolder(self.state).read(self.digest).kind is kind
        with pytest.raises(SnapshotRefused, match="ejected here"):
            await self.host.swap(source, self.host.live.sequence + 1)


@pytest.fixture
def live(serve, stand, new_emulator, tmp_path):
    async def build(source, engines=3, prepare=prepare_interpreted, limits=LIMITS, **emulator):
        urls = [await serve(new_emulator(**emulator).application()) for _ in range(engines)]
        gate = await stand(*urls, prepare=prepare, limits=limits, state=tmp_path, scrape_s=0.1)
        case = Case(gate, tmp_path)
        case.digest = (await gate.host.swap(source, 1)).digest
        return case

    return build


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_error_an_invalid_choice_ejects_within_the_decision(live):
    case = await live(INVALID)
    await case.fires(EjectionKind.ERROR)
    await case.is_out(EjectionKind.ERROR, INVALID)


async def test_slow_the_p99_of_its_decisions_ejects(live):
    limits = replace(LIMITS, slow_decisions=50, slow_p99_s=1e-4)
    case = await live(SLOW, limits=limits)
    await case.fires(EjectionKind.SLOW)
    await case.is_out(EjectionKind.SLOW, SLOW)


async def test_slow_two_late_decisions_eject(live):
    case = await live(SLOW, limits=replace(LIMITS, slow_call_s=1e-5))
    await case.fires(EjectionKind.SLOW, LOAD[:50])


async def test_stall_holding_while_no_engine_has_work_ejects(live):
    case = await live(HOLDING, limits=replace(LIMITS, stall_idle_s=0.2))
    await case.fires(EjectionKind.STALL)
    await case.is_out(EjectionKind.STALL, HOLDING)


async def test_stall_a_request_held_too_long_ejects(live):
    case = await live(HOLDING, limits=replace(LIMITS, stall_s=0.2))
    await case.fires(EjectionKind.STALL)


async def test_stall_a_call_that_does_not_return_is_latched_while_it_hangs(live):
    hanging = HangingRouter()
    case = await live(FIRST, prepare=prepare_with(hanging), limits=replace(LIMITS, hang_s=0.1))
    latches = LatchFolder(case.state)
    hanging.until = lambda: case.digest in (latches.digests() or ())
    await case.fires(EjectionKind.STALL, LOAD[:50])
    assert hanging.seen_latched


async def test_crash_a_side_process_that_is_killed_twice_ejects(live):
    processes = SideProcesses("interpreted", deadline_s=5.0)
    routers = []

    def prepare(source, parameters=None):
        ready = processes.prepare(source, parameters)
        routers.append(ready.router)
        return ready

    async def kill_twice():
        await until(lambda: case.host.slot.number > 30)
        os.kill(first := routers[0].process.pid, signal.SIGKILL)
        await until(lambda: routers[0].process and routers[0].process.pid != first)
        os.kill(routers[0].process.pid, signal.SIGKILL)

    case = await live(FIRST, prepare=prepare)
    killing = asyncio.create_task(kill_twice())
    await case.fires(EjectionKind.CRASH)
    await killing
    await case.is_out(EjectionKind.CRASH, FIRST)
    await asyncio.to_thread(processes.close)


async def test_slow_two_missed_deadlines_of_a_side_process_eject(live):
    case = await live(FIRST, prepare=prepare_with(LateRouter()))
    await case.fires(EjectionKind.SLOW, LOAD[:50])


async def test_imbalance_one_engine_with_all_the_work_ejects(live):
    limits = replace(LIMITS, share_s=0.3, share_requests=30)
    case = await live(FIRST, engines=4, limits=limits)
    await case.fires(EjectionKind.IMBALANCE)
    await case.is_out(EjectionKind.IMBALANCE, FIRST)


async def test_starvation_an_idle_engine_beside_a_queue_ejects(live):
    limits = replace(LIMITS, starve_engine_s=0.2)
    case = await live(FIRST, engines=2, limits=limits, time_scale=1.0, max_num_seqs=1)
    await case.fires(EjectionKind.STARVATION)
    await case.is_out(EjectionKind.STARVATION, FIRST)


async def test_slo_a_promise_that_only_the_control_arm_keeps_ejects(live, serve, new_emulator):
    """The proof of REGRESS asks for more here, as an effect of 1,000 times is accepted."""
    limits = replace(LIMITS, control_share=0.5, slo_e2e_s=0.35, effect=999.0, alpha=0.1)
    case = await live(LAST, limits=limits)
    slow = await serve(new_emulator(time_scale=0.004).application())
    case.gate.gateway.engines.add(slow)
    await case.fires(EjectionKind.SLO, [LoadRequest(0.1 * n, 20, 2) for n in range(170)])
    await case.is_out(EjectionKind.SLO, LAST)


async def test_regress_worse_than_the_control_arm_ejects(live, serve, new_emulator):
    case = await live(LAST, limits=replace(LIMITS, control_share=0.5))
    slow = await serve(new_emulator(time_scale=0.01).application())
    case.gate.gateway.engines.add(slow)
    await case.fires(EjectionKind.REGRESS, [LoadRequest(0.1 * n, 20, 2) for n in range(170)])
    await case.is_out(EjectionKind.REGRESS, LAST)


async def test_stale_signals_put_the_policy_aside_until_they_are_fresh(live, monkeypatch):
    case = await live(FIRST, limits=replace(LIMITS, stale_s=1.0))
    scraping, read_signals = asyncio.Event(), engines.read_signals

    async def delayed(session, url):
        await scraping.wait()
        return await read_signals(session, url)

    await until(lambda: case.host.table.row(0)["kv_capacity_tokens"] >= 0)
    monkeypatch.setattr(engines, "read_signals", delayed)
    await until(lambda: case.host.slot.off is EjectionKind.STALE)
    await case.fires(EjectionKind.STALE, LOAD[:100])
    scraping.set()
    await until(lambda: case.host.slot.off is None)
    served = await case.load(LOAD[:20])
    assert {one.policy for one in served} == {case.digest}
    assert case.host.slot.latched == ()


async def by_file(case, client, serve) -> None:
    (case.state / "kill").touch()


async def by_signal(case, client, serve) -> None:
    os.kill(os.getpid(), signal.SIGUSR1)


async def by_post(case, client, serve) -> None:
    token = admin_token(case.state / "admin.token")
    url = await serve(admin_application(case.host, token)) + "/admin/kill"
    async with client.post(url) as refused:
        assert refused.status == 403
    async with client.post(url, headers={"Authorization": f"Bearer {token}"}) as answer:
        assert (await answer.json())["off"] == "operator"


@pytest.mark.parametrize("way", [by_file, by_signal, by_post])
async def test_operator_each_switch_alone_stops_every_policy(live, client, serve, way):
    case = await live(FIRST)
    with killed_by_signal(case.host):
        loading = asyncio.create_task(case.fires(EjectionKind.OPERATOR))
        await asyncio.sleep(0.3)
        await way(case, client, serve)
        await loading
    served = await case.load(LOAD[:20])
    assert {one.policy for one in served} == {BUILT_IN_DIGEST}
    LatchFolder(case.state).enable(EVERYTHING, "ada", "it was a drill")
    await until(lambda: case.host.slot.off is None)
    served = await case.load(LOAD[:20])
    assert {one.policy for one in served} == {case.digest}


async def test_expired_an_approval_that_ends_ejects(live):
    case = await live(FIRST)
    case.host.slot.assign(replace(case.host.live, expires_unix_s=time.time() + 0.3))
    await case.fires(EjectionKind.EXPIRED)
    await case.is_out(EjectionKind.EXPIRED, FIRST)


def prepare_with(router):
    """Prepare as usual, then let another router decide live."""

    def prepare(source, parameters=None):
        ready = prepare_interpreted(source, parameters)
        return replace(ready, router=router)

    return prepare


class LateRouter:
    """Stands for a side process that computes beyond its deadline now and then."""

    calls = 0

    def route(self, request, instances, memory, rotation, fuel):
        self.calls += 1
        if self.calls in (10, 30):
            raise SideProcessSlow("It is late.", busy_s=0.002)
        if self.calls == 20:
            raise SideProcessSlow("It was not let run.", busy_s=0.0)
        return int(instances["id"][0])


class HangingRouter:
    """Holds the event loop in one decision until it is latched for it."""

    seen_latched = False

    def route(self, request, instances, memory, rotation, fuel):
        for _ in range(1000):
            if self.until():
                self.seen_latched = True
                break
            time.sleep(0.005)
        return int(instances["id"][0])
