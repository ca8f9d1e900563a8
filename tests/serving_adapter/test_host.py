"""The policy host: swaps between decisions, never back, and outlives faulty policies."""

import asyncio
from datetime import UTC, datetime

import numpy as np
import pytest

from policy_store.snapshot import Snapshot, SnapshotPolicy, write_snapshot
from sandbox import contract
from sandbox.records import dtype_of
from serving_adapter.decision import BUILT_IN_DIGEST, Author, Outcome
from serving_adapter.errors import PolicyUnusable, SnapshotRefused
from serving_adapter.facts import RequestFacts

FACTS = RequestFacts(arrived_s=0.0, prompt_tokens=100)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def policy_of(word: str, digest: str) -> SnapshotPolicy:
    return SnapshotPolicy(digest, word, {}, contract.CONTRACT_VERSION)


@pytest.fixture
def snapshot_of(word_digest):
    def build(sequence: int, active: str | None, last_good: str | None = None) -> Snapshot:
        policies = [
            policy_of(word, word_digest(word)) if word else None for word in (active, last_good)
        ]
        return Snapshot(sequence, *policies, issued_at=NOW)

    return build


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


async def test_law_9_a_policy_that_is_not_what_its_digest_says_is_refused(new_host, word_digest):
    host = new_host()
    lying = Snapshot(1, policy_of("first", word_digest("last")), None, issued_at=NOW)
    with pytest.raises(SnapshotRefused, match="approve it again"):
        await host.apply(lying)
    assert host.live.sequence == 0


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
    host = new_host(on_fault=faults.append)
    await host.apply(snapshot_of(4, word, "last"))
    decisions = [host.route(FACTS) for _ in range(3)]
    assert [d.instance_id for d in decisions] == [2, 2, 2]
    assert [(d.author, d.reason) for d in decisions] == [
        (Author.LAST_GOOD, kind),
        (Author.LAST_GOOD, ""),
        (Author.LAST_GOOD, ""),
    ]
    assert [(fault.sequence, fault.kind) for fault in faults] == [(4, kind)]


async def test_when_the_last_good_fails_too_the_built_in_decides(new_host, snapshot_of):
    host = new_host()
    await host.apply(snapshot_of(4, "faulty", "crash"))
    decision = host.route(FACTS)
    assert (decision.author, decision.outcome) == (Author.BUILT_IN, Outcome.ROUTED)
    assert (decision.reason, decision.sequence) == ("fuel,ZeroDivisionError", 4)


async def test_an_ejected_policy_stays_out_until_a_higher_sequence(new_host, snapshot_of):
    host = new_host()
    await host.apply(snapshot_of(4, "faulty", "last"))
    host.route(FACTS)
    assert not await host.apply(snapshot_of(4, "faulty", "last"))
    assert host.route(FACTS).author is Author.LAST_GOOD
    await host.apply(snapshot_of(5, "first", "last"))
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


async def test_the_snapshot_file_is_followed_and_survives_damage(new_host, snapshot_of, tmp_path):
    host, path = new_host(), tmp_path / "active.json"
    following = asyncio.create_task(host.follow(path, poll_s=0.005))
    write_snapshot(path, snapshot_of(7, "first"))
    await until(lambda: host.live.sequence == 7)
    path.unlink()
    path.write_text("{")
    await until(lambda: host.metrics.refusals("SnapshotDamaged") == 1)
    path.unlink()
    write_snapshot(path, snapshot_of(6, "last"))
    await until(lambda: host.metrics.refusals("SnapshotStale") == 1)
    assert host.route(FACTS).instance_id == 0
    path.unlink()
    write_snapshot(path, snapshot_of(8, "last"))
    await until(lambda: host.live.sequence == 8)
    following.cancel()
