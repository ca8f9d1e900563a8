"""Checking a store: whatever is changed around it is found, and said where."""

import sqlite3

import pytest

from policy_store import Alias
from policy_store.errors import DamagedStore
from policy_store.snapshot import write_snapshot


@pytest.fixture
def live(store, store_path, approved, go_live):
    """Two policies that were live, one as canary; a connection that heeds nothing."""
    digests = [approved() for _ in range(3)]
    for digest in digests[:2]:
        go_live(digest)
    store.place(digests[2], Alias.CANARY, 0, by="ada", note="try", weight=0.1)
    raw = sqlite3.connect(store_path, isolation_level=None)
    for trigger in ("audit_no_update", "activations_no_update"):
        text = raw.execute("SELECT sql FROM sqlite_master WHERE name = ?", (trigger,)).fetchone()
        raw.execute(f"DROP TRIGGER {trigger}")
        raw.execute(f"CREATE TABLE {trigger} AS SELECT ? AS text", text)
    yield raw
    raw.close()


def restore_triggers(raw):
    for trigger in ("audit_no_update", "activations_no_update"):
        (text,) = raw.execute(f"SELECT text FROM {trigger}").fetchone()
        raw.execute(f"DROP TABLE {trigger}")
        raw.execute(text)


def found(store, **asked):
    return [(one.kind, one.problem) for one in store.check(**asked).findings]


def test_an_untouched_store_is_intact_and_says_what_was_checked(store, live):
    restore_triggers(live)
    told = []
    verdict = store.check(progress=lambda kind, count: told.append((kind, count)))
    assert verdict.intact
    assert verdict.checked == {"audit": 15, "source": 1, "version": 3, "evidence": 3}
    assert sum(count for _, count in told) == 22


@pytest.mark.parametrize(
    ("statement", "kind", "problem"),
    [
        ("UPDATE sources SET text = text || ' '", "source", "not match its digest"),
        ("UPDATE sources SET text = x'00ff'", "source", "not match its digest"),
        ("UPDATE evidence SET document = '{}' WHERE rowid = 2", "evidence", "not match"),
        ("UPDATE versions SET parameters = '{\"KNEE\":9.0}' WHERE rowid = 1", "version", "not"),
        ("UPDATE versions SET contract_version = 2 WHERE rowid = 1", "version", "not match"),
        ("DELETE FROM evidence WHERE rowid = 2", "attachments", "points to in evidence is gone"),
        ("UPDATE audit SET note = 'x' WHERE sequence = 5", "audit", "Entry 5 was altered"),
        ("UPDATE slots SET version_digest = NULL WHERE alias = 'active'", "slot", "not what"),
        ("UPDATE versions SET state = 'rejected'", "slot", "without an approval"),
        ("UPDATE activations SET version_digest = NULL", "slot", "not what the last activation"),
    ],
)
def test_what_was_changed_around_the_store_is_found(store, live, statement, kind, problem):
    live.execute(statement)
    restore_triggers(live)
    findings = found(store)
    assert {one for one, _ in findings} == {kind}
    assert problem in findings[0][1]


def test_missing_guards_are_found(store, live):
    assert found(store) == [
        (table, "This trigger is gone, so the table no longer only grows.")
        for table in ("audit", "activations")
    ]


def test_what_hosts_read_is_of_this_store(store, live, evaluated, tmp_path, signing_key):
    restore_triggers(live)
    path = tmp_path / "active.json"
    snapshot = write_snapshot(path, store.snapshot(), signing_key)
    evaluated()
    assert found(store, snapshot=snapshot) == []
    store.rollback("ada", "slow")
    assert found(store, snapshot=snapshot) == [
        ("snapshot", "The store is at sequence 4: have it written with `evolver policy publish`.")
    ]
    live.execute("UPDATE slots SET sequence = 1")
    assert "older than what hosts read" in found(store, snapshot=snapshot)[0][1]


def test_a_snapshot_of_another_store_is_found(store, live, signing_key):
    restore_triggers(live)
    from dataclasses import replace

    other = replace(store.snapshot(), audit_head="f" * 64, active=None)
    kinds = {kind for kind, _ in found(store, snapshot=other)}
    assert kinds == {"audit", "snapshot"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE versions SET state = 'evaluated'",
        "UPDATE slots SET version_digest = (SELECT digest FROM versions LIMIT 1)",
        "UPDATE slots SET sequence = sequence + 1 WHERE alias = 'active'",
    ],
)
def test_law_9_nothing_is_signed_that_was_made_live_around_the_store(store, live, statement):
    live.execute(statement)
    with pytest.raises(DamagedStore, match="changed the store from outside"):
        store.snapshot()
