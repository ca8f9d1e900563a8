"""The watchdog around a host: what a person enables comes back; a defect of it blinds nothing."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from policy_store.snapshot import write_snapshot
from sandbox.policies import default_text
from serving_adapter.activation import prepare_policy
from serving_adapter.decision import Author
from serving_adapter.facts import RequestFacts
from serving_adapter.request_log import RequestOutcome, Visit
from serving_adapter.safety.checks import Holding
from serving_adapter.safety.comparison import Comparison
from serving_adapter.safety.ejection import EjectionKind
from serving_adapter.safety.latches import LatchFolder
from serving_adapter.safety.limits import UNWATCHED_ARM, LiveLimits

FACTS = RequestFacts(arrived_s=0.0, prompt_tokens=100)
QUICK = replace(UNWATCHED_ARM, poll_s=0.005)


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_what_a_person_enables_is_loaded_again_under_its_sequence(
    new_host, snapshot_of, signing_key, word_digest, tmp_path
):
    host, path = new_host(limits=QUICK, state=tmp_path), tmp_path / "active.json"
    write_snapshot(path, snapshot_of(7, "faulty", "last"), signing_key)
    following = asyncio.create_task(host.follow(path, poll_s=0.005))
    async with host.watchdog.running():
        await until(lambda: host.live.sequence == 7)
        assert host.route(FACTS).author is Author.LAST_GOOD
        LatchFolder(tmp_path).enable(word_digest("faulty"), "ada", "once more")
        await until(lambda: host.live.active is not None)
        assert (host.live.sequence, host.slot.enable_seq) == (7, 2)
    following.cancel()


async def test_an_ejected_policy_is_not_loaded_after_a_restart(new_host, snapshot_of, tmp_path):
    before = new_host(state=tmp_path)
    await before.apply(snapshot_of(7, "faulty", "last"))
    before.route(FACTS)
    after = new_host(state=tmp_path)
    await after.apply(snapshot_of(8, "faulty", "last"))
    assert (after.live.sequence, after.live.active) == (8, None)
    assert after.route(FACTS).author is Author.LAST_GOOD


async def test_two_hosts_of_one_state_folder_eject_together(new_host, snapshot_of, tmp_path):
    hosts = [new_host(limits=QUICK, state=tmp_path) for _ in range(2)]
    for host in hosts:
        await host.apply(snapshot_of(7, "faulty", "last"))
    async with hosts[1].watchdog.running():
        hosts[0].route(FACTS)
        await until(lambda: hosts[1].live.active is None)
    assert hosts[1].slot.latched[0].reason == "fuel"


async def test_a_defect_of_one_check_leaves_the_others_at_work(new_host, tmp_path, monkeypatch):
    def broken(self, seen):
        raise RuntimeError("a defect")

    monkeypatch.setattr(Comparison, "add", broken)
    host = new_host(limits=QUICK, state=tmp_path)
    await host.swap("first", 1)
    async with host.watchdog.running():
        host.watchdog.observe(None)
        (tmp_path / "kill").touch()
        await until(lambda: host.slot.off is EjectionKind.OPERATOR)
    assert host.route(FACTS).author is Author.BUILT_IN


async def test_a_tenant_that_is_made_to_wait_ejects(new_host, tmp_path):
    host = new_host(limits=QUICK, state=tmp_path)
    await host.swap("first", 1)
    async with host.watchdog.running():
        for number in range(40):
            tenant = number % 2
            facts = replace(FACTS, arrived_s=host.now_s(), tenant=tenant, stream=True)
            visit = Visit("chat", 0.0, facts, decisions=[host.route(facts)], sent_s=facts.arrived_s)
            visit.first_token_s = facts.arrived_s + (9.0 if tenant else 0.1)
            visit.ended(RequestOutcome.OK, 200)
            host.ended(facts, visit.record(facts.arrived_s + 9.0))
        await until(lambda: host.live.active is None)
    assert host.slot.latched[0].kind is EjectionKind.STARVATION


async def test_a_wall_clock_that_leaps_ends_no_term(
    new_host, new_admission, snapshot_of, tmp_path
):
    clock = [datetime(2026, 1, 2, tzinfo=UTC)]
    host = new_host(limits=QUICK, state=tmp_path, admission=new_admission(clock=lambda: clock[0]))
    await host.apply(snapshot_of(7, "first"))
    async with host.watchdog.running():
        for days, direction in ((400, "forward"), (-800, "back")):
            clock[0] += timedelta(days=days)
            leaps = host.metrics._leaps
            await until(lambda leaps=leaps, direction=direction: leaps.value(direction) == 1)
    assert host.live.active is not None
    assert host.slot.latched == ()


@pytest.mark.parametrize(("settle_s", "ejected"), [(30.0, False), (0.0, True)])
async def test_waits_while_the_process_stood_still_are_nobodys(
    new_host, tmp_path, settle_s, ejected
):
    limits = replace(QUICK, pause_s=0.2, settle_s=settle_s, stall_s=0.4)
    host = new_host(limits=limits, state=tmp_path)
    digest = (await host.swap("first", 1)).digest
    async with host.watchdog.running():
        held_s = host.now_s()
        host.watchdog.held = lambda: {digest: Holding(1, host.now_s() - held_s)}
        time.sleep(0.5)
        if ejected:
            await until(lambda: host.live.active is None)
        else:
            await asyncio.sleep(0.1)
    assert (host.live.active is None) is ejected


@pytest.mark.parametrize(("word", "result"), [("first", "agree"), ("last", "differ")])
async def test_the_default_policy_is_asked_beside_the_live_one(new_host, word, result):
    def prepare(source, parameters=None):
        return prepare_word(word if source == default_text() else "first", parameters)

    prepare_word = new_host()._preparing._prepare
    host = new_host(limits=replace(QUICK, shadow_share=0.5), prepare=prepare)
    await host.swap("first", 1)
    await host.load_shadow()
    async with host.watchdog.running():
        for _ in range(20):
            host.route(FACTS)
        await until(lambda: host.metrics.shadow_results("default", result) == 10)


async def test_the_default_policy_really_answers_what_a_host_asks(new_host):
    def prepare(source, parameters=None):
        return prepare_policy(source, parameters, engine="interpreted")

    host = new_host(limits=replace(QUICK, shadow_share=1.0), prepare=prepare)
    await host.swap(default_text(), 1)
    await host.load_shadow()
    async with host.watchdog.running():
        for _ in range(20):
            host.route(FACTS)
        await until(lambda: host.metrics.shadow_results("default", "agree") == 20)


async def test_the_metrics_say_what_is_watched(new_host, tmp_path):
    host = new_host(limits=LiveLimits(poll_s=0.005), state=tmp_path)
    await host.swap("first", 1)
    async with host.watchdog.running():
        await until(lambda: host.metrics._share.value() == 0.05)
    host.slot.eject(host.live.active, EjectionKind.REGRESS, "slower")
    assert host.metrics.ejections(EjectionKind.REGRESS) == host.metrics._latched.value() == 1
