"""A canary and a shadow on a host: who is asked for what, what is compared, how each ends."""

import asyncio
from dataclasses import replace

import pytest

from serving_adapter.decision import Arm, Author, Outcome
from serving_adapter.facts import RequestFacts
from serving_adapter.request_log import RequestOutcome, Visit
from serving_adapter.safety.comparison import Standing
from serving_adapter.safety.ejection import EjectionKind
from serving_adapter.safety.latches import LatchFolder
from serving_adapter.safety.limits import UNWATCHED_ARM, LiveLimits

FACTS = RequestFacts(arrived_s=0.0, prompt_tokens=100)
QUICK = replace(UNWATCHED_ARM, poll_s=0.005)
SESSIONS = 400


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def decide(host, count=SESSIONS):
    return [host.route(replace(FACTS, session=number)) for number in range(count)]


@pytest.mark.parametrize("limits", [LiveLimits(), UNWATCHED_ARM])
async def test_a_canary_decides_its_share_of_sessions_and_the_active_policy_the_rest(
    new_host, snapshot_of, word_digest, limits
):
    host = new_host(limits=limits)
    await host.apply(snapshot_of(7, "first", canary=("last", 0.25)))
    decisions = decide(host)
    assert {(one.arm, one.author, one.instance_id) for one in decisions} == {
        (Arm.POLICY, Author.CANARY, 2), (Arm.CONTROL, Author.ACTIVE, 0),
        (Arm.NONE, Author.ACTIVE, 0)}  # fmt: skip
    assert {one.compared for one in decisions if one.arm is not Arm.NONE} == {word_digest("last")}
    for arm, share in ((Arm.POLICY, 0.25), (Arm.CONTROL, 0.25)):
        assert abs(sum(one.arm is arm for one in decisions) / SESSIONS - share) < 0.11
    assert decisions == [one._replace(duration_s=two.duration_s, number=two.number)
                         for one, two in zip(decide(host), decisions, strict=True)]  # fmt: skip


async def test_a_canary_that_faults_is_out_and_its_request_goes_to_the_active_policy(
    new_host, snapshot_of, word_digest
):
    host = new_host(limits=UNWATCHED_ARM)
    await host.apply(snapshot_of(7, "first", canary=("faulty", 1.0)))
    one, two = decide(host, 2)
    assert (one.author, one.reason, one.digest) == (Author.ACTIVE, "fuel", word_digest("first"))
    assert (two.author, two.reason, host.live.canary) == (Author.ACTIVE, "", None)
    assert host.live.active.digest == word_digest("first")
    assert [one.digest for one in host.slot.latched] == [word_digest("faulty")]


async def test_a_canary_over_the_built_in_default_is_compared_with_it(new_host, snapshot_of):
    host = new_host()
    await host.apply(snapshot_of(7, None, canary=("last", 0.5)))
    assert {(one.arm, one.author) for one in decide(host)} == {
        (Arm.POLICY, Author.CANARY), (Arm.CONTROL, Author.BUILT_IN)}  # fmt: skip


async def test_what_stays_in_place_keeps_its_memory_over_a_snapshot(new_host, snapshot_of):
    host = new_host()
    await host.apply(snapshot_of(7, "first"))
    decide(host, 3)
    active = host.live.active
    await host.apply(snapshot_of(8, "first", canary=("last", 0.5), shadow="first-b"))
    canary = host.live.canary
    assert host.live.active is active
    assert active.memory[0] == 3
    await host.apply(snapshot_of(9, "last", last_good="first"))
    assert (host.live.active, host.live.last_good, host.live.canary) == (canary, active, None)


async def test_a_shadow_is_never_also_what_decides_as_two_threads_would_ask_it(
    new_host, snapshot_of
):
    host = new_host()
    await host.apply(snapshot_of(7, "first", shadow="last"))
    shadow = host.live.shadow
    await host.apply(snapshot_of(8, "first", canary=("last", 0.5), shadow="first"))
    assert host.live.canary.digest == shadow.digest
    assert host.live.canary.router is not shadow.router
    assert host.live.shadow.digest == host.live.active.digest
    assert host.live.shadow.router is not host.live.active.router
    shadow = host.live.shadow
    await host.apply(snapshot_of(9, "first", shadow="first"))
    assert host.live.shadow is shadow


async def test_a_trial_that_does_not_load_keeps_nothing_out(new_host, snapshot_of):
    host = new_host(limits=UNWATCHED_ARM)
    await host.apply(snapshot_of(7, "first", canary=("unusable", 0.5), shadow="unusable"))
    assert (host.live.sequence, host.live.canary, host.live.shadow) == (7, None, None)
    assert {one.author for one in decide(host)} == {Author.ACTIVE}


async def test_an_ejected_canary_stays_out_until_a_person_enables_it(
    new_host, snapshot_of, signing_key, word_digest, tmp_path
):
    host = new_host(limits=QUICK, state=tmp_path)
    snapshot = snapshot_of(7, "first", canary=("faulty", 1.0))
    await host.apply(snapshot)
    decide(host, 1)
    assert not await host.apply(snapshot)
    LatchFolder(tmp_path).enable(word_digest("faulty"), "ada", "once more")
    host.slot.look()
    assert await host.apply(snapshot)
    assert host.live.canary.digest == word_digest("faulty")


def compared(host):
    """How many requests its watchdog has looked at so far."""
    seen = host.watchdog.standing()
    return 0 if seen is None else sum(seen.counts.values())


def end(host, facts, decision, e2e_s):
    visit = Visit("chat", 0.0, facts, decisions=[decision])
    visit.ended(RequestOutcome.OK, 200)
    host.ended(facts, visit.record(e2e_s))


@pytest.mark.parametrize(
    ("slower", "standing"), [(3.0, Standing.WORSE), (1 / 3, Standing.BETTER), (1.0, Standing.OPEN)]
)
async def test_a_canary_is_compared_with_the_active_policy_at_the_same_time(
    new_host, snapshot_of, word_digest, tmp_path, slower, standing
):
    host = new_host(limits=QUICK, state=tmp_path)
    await host.apply(snapshot_of(7, "first", canary=("last", 0.5)))
    canary = word_digest("last")
    async with host.watchdog.running():
        for number in range(600):
            facts = replace(FACTS, session=number)
            decision = host.route(facts)
            end(host, facts, decision, (1 + number % 7 / 7) * (slower if decision.digest == canary
                                                               else 1))  # fmt: skip
        if standing is Standing.WORSE:
            await until(lambda: host.live.canary is None)
            assert host.slot.latched[0].kind is EjectionKind.REGRESS
        else:
            await until(lambda: compared(host) == 600)
            assert host.watchdog.standing().standing is standing


@pytest.mark.parametrize(("word", "answer"), [("first-b", "agree"), ("last", "differ")])
async def test_a_shadow_is_asked_and_decides_nothing(new_host, snapshot_of, word, answer):
    host = new_host(limits=QUICK)
    await host.apply(snapshot_of(7, "first", shadow=word))
    async with host.watchdog.running():
        assert {one.instance_id for one in decide(host, 50)} == {0}
        await until(lambda: host.metrics.shadow_results("shadow", answer) == 50)
    assert host.live.shadow is not None


async def test_a_shadow_that_faults_is_out(new_host, snapshot_of, word_digest):
    host = new_host(limits=QUICK)
    await host.apply(snapshot_of(7, "first", shadow="crash"))
    async with host.watchdog.running():
        decide(host, 5)
        await until(lambda: host.live.shadow is None)
    assert [one.digest for one in host.slot.latched] == [word_digest("crash")]
    assert host.live.active is not None


async def test_a_request_keeps_its_version_but_no_ejected_policy(new_host, snapshot_of):
    host = new_host()
    await host.apply(snapshot_of(7, "first"))
    before = host.live
    await host.apply(snapshot_of(8, "last", last_good="first"))
    kept = host.route(FACTS, live=before)
    assert (kept.sequence, kept.instance_id) == (7, 0)
    host.slot.eject(host.live.last_good, EjectionKind.ERROR, "a test")
    after = host.route(FACTS, live=before)
    assert (after.sequence, after.author, after.outcome) == (7, Author.BUILT_IN, Outcome.ROUTED)
