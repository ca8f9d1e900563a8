"""The policy host: swaps between decisions, never back, and outlives faulty policies."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from policy_store.errors import (
    SnapshotForged,
    SnapshotStale,
    SnapshotUnsigned,
    SnapshotUntrusted,
)
from policy_store.keys import TrustedKeys, write_trusted
from policy_store.snapshot import Approval, SnapshotPolicy, write_snapshot
from sandbox import contract
from sandbox.identity import policy_digest
from sandbox.records import dtype_of
from serving_adapter.admission import Admission
from serving_adapter.decision import BUILT_IN_DIGEST, Author, Outcome
from serving_adapter.errors import PolicyUnusable, SnapshotRefused, StateUnusable
from serving_adapter.facts import RequestFacts
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceTable
from serving_adapter.safety.ejection import EjectionKind

FACTS = RequestFacts(arrived_s=0.0, prompt_tokens=100)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
APPROVED = Approval("ada", "a" * 64)


async def test_without_a_policy_the_least_outstanding_engine_is_taken(new_host):
    host = new_host(engines=3)
    for number in (0, 1, 1):
        host.table.dispatch(number, FACTS, 0.0)
    decision = host.route(FACTS)
    assert (decision.instance_id, decision.author) == (2, Author.BUILT_IN)
    assert (decision.sequence, decision.digest) == (0, BUILT_IN_DIGEST)


async def test_equal_engines_are_taken_in_turn(new_host):
    host = new_host(engines=3)
    assert {host.route(FACTS).instance_id for _ in range(3)} == {0, 1, 2}


async def test_a_swap_decides_from_the_next_decision_on(new_host, word_digest):
    host = new_host()
    await host.swap("first", 1)
    before = host.route(FACTS)
    await host.swap("last", 2)
    after = host.route(FACTS)
    assert (before.instance_id, before.sequence, before.digest) == (0, 1, word_digest("first"))
    assert (after.instance_id, after.sequence, after.digest) == (2, 2, word_digest("last"))


@pytest.mark.parametrize("sequence", [1, 2])
async def test_law_9_a_host_never_goes_back_in_sequence(new_host, sequence):
    host = new_host()
    await host.swap("first", 2)
    with pytest.raises(SnapshotRefused, match="have the store issue a new one"):
        await host.swap("last", sequence)
    assert host.route(FACTS).instance_id == 0


async def test_law_9_one_sequence_names_one_policy(new_host, snapshot_of):
    host = new_host()
    assert await host.apply(snapshot_of(3, "first"))
    assert not await host.apply(snapshot_of(3, "first"))
    with pytest.raises(SnapshotRefused):
        await host.apply(snapshot_of(3, "last"))


async def test_law_9_a_policy_that_is_something_else_here_is_refused(new_host, snapshot_of):
    host = new_host()
    newer = contract.CONTRACT_VERSION + 1
    policy = SnapshotPolicy(policy_digest("first", {}, newer), "first", {}, newer, APPROVED)
    with pytest.raises(SnapshotRefused, match="approve it again"):
        await host.apply(snapshot_of(1, policy))
    assert host.live.sequence == 0


async def test_law_9_what_nobody_signed_is_refused(new_host, snapshot_of):
    host = new_host()
    with pytest.raises(SnapshotUnsigned):
        await host.apply(replace(snapshot_of(1, "first"), signature=None))
    with pytest.raises(SnapshotForged):
        await host.apply(replace(snapshot_of(1, "first"), sequence=2))
    assert host.live.sequence == 0


async def test_a_host_trusts_nobody_by_itself(snapshot_of):
    host = PolicyHost(InstanceTable())
    with pytest.raises(SnapshotUntrusted):
        await host.apply(snapshot_of(1, "first"))


async def test_what_is_live_says_when_it_expires(new_host, snapshot_of):
    host, snapshot = new_host(), snapshot_of(1, "first")
    await host.apply(snapshot)
    assert host.live.expires_unix_s == snapshot.expires_at.timestamp()


async def test_an_unusable_policy_leaves_the_old_one(new_host):
    host = new_host()
    await host.swap("last", 1)
    with pytest.raises(PolicyUnusable):
        await host.swap("unusable", 2)
    assert host.route(FACTS).instance_id == 2


@pytest.mark.parametrize(
    ("word", "kind"),
    [("faulty", "fuel"), ("crash", "ZeroDivisionError"), ("invalid", "invalid-choice")],
)
async def test_a_faulty_policy_is_ejected_within_its_decision(new_host, snapshot_of, word, kind):
    faults = []
    host = new_host(on_ejection=faults.append)
    await host.apply(snapshot_of(4, word, "last"))
    decisions = [host.route(FACTS) for _ in range(3)]
    assert [d.instance_id for d in decisions] == [2, 2, 2]
    assert [(d.author, d.reason) for d in decisions] == [
        (Author.LAST_GOOD, kind),
        (Author.LAST_GOOD, ""),
        (Author.LAST_GOOD, ""),
    ]
    assert [(one.sequence, one.kind, one.reason) for one in faults] == [
        (4, EjectionKind.ERROR, kind)
    ]


async def test_when_the_last_good_fails_too_the_built_in_decides(new_host, snapshot_of):
    host = new_host()
    await host.apply(snapshot_of(4, "faulty", "crash"))
    decision = host.route(FACTS)
    assert (decision.author, decision.outcome) == (Author.BUILT_IN, Outcome.ROUTED)
    assert (decision.reason, decision.sequence) == ("fuel,ZeroDivisionError", 4)


async def test_an_ejected_policy_stays_out_whatever_sequence_names_it(new_host, snapshot_of):
    host = new_host()
    await host.apply(snapshot_of(4, "faulty", "last"))
    host.route(FACTS)
    assert not await host.apply(snapshot_of(4, "faulty", "last"))
    assert host.route(FACTS).author is Author.LAST_GOOD
    await host.apply(snapshot_of(5, "faulty", "last"))
    assert host.route(FACTS).author is Author.LAST_GOOD
    await host.apply(snapshot_of(6, "first", "last"))
    assert host.route(FACTS).author is Author.ACTIVE


@pytest.mark.parametrize(
    ("word", "outcome"),
    [("hold", Outcome.HELD), ("reject", Outcome.REJECTED), ("no-route", Outcome.ROUTED)],
)
async def test_hold_and_reject_are_valid_and_a_missing_hook_is_the_default(new_host, word, outcome):
    host = new_host()
    await host.swap(word, 1)
    assert host.route(FACTS).outcome is outcome
    assert host.live.active is not None


async def test_without_engines_there_is_no_decision_to_make(new_host):
    decision = new_host(engines=0).route(FACTS)
    assert decision.outcome is Outcome.NO_ENGINE


async def test_a_new_policy_enters_with_empty_memory(new_host):
    host = new_host()
    await host.swap("first", 1)
    host.route(FACTS)
    await host.swap("first", 2)
    host.route(FACTS)
    assert [np.frombuffer(given.memory)[0] for given in host.recent] == [0.0, 0.0]


async def test_recent_inputs_are_bounded_and_complete(new_host):
    host = new_host(engines=2)
    await host.swap("last", 1)
    for _ in range(300):
        host.route(FACTS)
    newest = host.recent[-1]
    request = np.frombuffer(newest.request, dtype_of(contract.Request))
    rows = np.frombuffer(newest.instances, dtype_of(contract.Instance))
    assert (len(host.recent), newest.number, newest.choice) == (256, 300, 1)
    assert (request["prompt_tokens"][0], rows["id"].tolist()) == (100, [0, 1])


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def following(tmp_path):
    """Has a host follow `active.json`; the path."""
    tasks = []

    def start(host):
        tasks.append(asyncio.create_task(host.follow(tmp_path / "active.json", poll_s=0.005)))
        return tmp_path / "active.json"

    yield start
    for task in tasks:
        task.cancel()


async def test_the_snapshot_file_is_followed_and_survives_damage(
    new_host, snapshot_of, signing_key, following
):
    host = new_host()
    path = following(host)
    write_snapshot(path, snapshot_of(7, "first"), signing_key)
    await until(lambda: host.live.sequence == 7)
    path.unlink()
    path.write_text("{")
    await until(lambda: host.metrics.refusals("SnapshotDamaged") == 1)
    write_snapshot(path, snapshot_of(6, "last"), signing_key)
    await until(lambda: host.metrics.refusals("SnapshotStale") == 1)
    assert host.route(FACTS).instance_id == 0
    write_snapshot(path, snapshot_of(8, "last"), signing_key)
    await until(lambda: host.live.sequence == 8)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"deployment": "batch"}, "SnapshotMisdirected"),
     ({"expires_at": NOW}, "SnapshotExpired"),
     ({"not_before": NOW + timedelta(days=1)}, "SnapshotNotYetValid"),
     ({"sequence": 4}, "SnapshotStale")],
)  # fmt: skip
async def test_each_refusal_has_its_reason_in_the_metrics(
    new_host, snapshot_of, signing_key, following, fields, reason
):
    host = new_host()
    await host.apply(snapshot_of(5, "last"))
    written = replace(snapshot_of(6, "first"), **fields)
    write_snapshot(following(host), written, signing_key)
    await until(lambda: host.metrics.refusals(reason) == 1)
    assert host.live.sequence == 5


async def test_a_snapshot_from_the_future_waits_for_the_clock(
    new_host, new_admission, snapshot_of, signing_key, following
):
    now = [NOW - timedelta(minutes=10)]
    host = new_host(admission=new_admission(clock=lambda: now[0]))
    write_snapshot(following(host), snapshot_of(1, "first"), signing_key)
    await until(lambda: host.metrics.refusals("SnapshotNotYetValid") == 1)
    now[0] = NOW
    await until(lambda: host.live.sequence == 1)
    assert host.metrics.refusals("SnapshotNotYetValid") == 1


async def test_a_key_that_becomes_trusted_is_enough(
    new_host, snapshot_of, signing_key, following, tmp_path
):
    trust = tmp_path / "trusted_keys.json"
    host = new_host(admission=Admission(trust, clock=lambda: NOW))
    write_snapshot(following(host), snapshot_of(1, "first"), signing_key)
    await until(lambda: host.metrics.refusals("SnapshotUntrusted") == 1)
    write_trusted(trust, TrustedKeys((signing_key.public,)))
    await until(lambda: host.live.sequence == 1)


async def test_an_unusable_trust_file_stops_no_request(
    new_host, snapshot_of, signing_key, following, tmp_path
):
    (tmp_path / "trusted_keys.json").write_text("{")
    host = new_host(admission=Admission(tmp_path / "trusted_keys.json", clock=lambda: NOW))
    write_snapshot(following(host), snapshot_of(1, "first"), signing_key)
    await until(lambda: host.metrics.refusals("TrustUnusable") == 1)
    assert host.route(FACTS).author is Author.BUILT_IN


async def test_a_restarted_host_does_not_go_back(new_host, new_admission, snapshot_of, tmp_path):
    for sequence, word in ((5, "first"), (6, "last")):
        host = new_host(admission=new_admission(state=tmp_path / "state"))
        await host.apply(snapshot_of(sequence, word))
    host = new_host(admission=new_admission(state=tmp_path / "state"))
    with pytest.raises(SnapshotStale, match="below 6"):
        await host.apply(snapshot_of(5, "first"))
    assert await host.apply(snapshot_of(6, "last"))


async def test_what_cannot_be_remembered_does_not_go_live(
    new_host, new_admission, snapshot_of, tmp_path
):
    (tmp_path / "state").write_text("a file, where a folder should be")
    host = new_host(admission=new_admission(state=tmp_path / "state"))
    with pytest.raises(StateUnusable, match="--state"):
        await host.apply(snapshot_of(1, "first"))
    assert host.live.sequence == 0
