"""Law 10: the audit log only grows, and a change to any past entry is detected."""

import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

COLUMNS = ["at", "actor", "action", "subject", "deployment", "note", "details"]
COLUMNS += ["previous_hash", "hash"]
TRIGGERS = [f"audit_no_{change}" for change in ("update", "delete", "replace")]


@pytest.fixture
def raw(store, store_path, evaluated):
    for _ in range(3):
        evaluated()
    connection = sqlite3.connect(store_path, isolation_level=None)
    yield connection
    connection.close()


@pytest.fixture
def unguarded(raw):
    for trigger in TRIGGERS:
        raw.execute(f"DROP TRIGGER {trigger}")
    return raw


def test_law_10_an_untouched_log_is_intact(store, raw):
    verdict = store.audit.verify()
    assert (verdict.intact, verdict.entries) == (True, 9)
    assert verdict.head == store.audit.entries(after=8)[0].hash


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET note = 'never'",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE sequence = 9",
        "INSERT OR REPLACE INTO audit SELECT sequence, at, 'eve', action, subject, deployment, "
        "note, details, previous_hash, hash FROM audit WHERE sequence = 4",
    ],
)
def test_law_10_the_database_refuses_changes(store, raw, statement):
    with pytest.raises(sqlite3.IntegrityError, match="audit only grows"):
        raw.execute(statement)
    assert store.audit.verify().intact


@pytest.mark.parametrize("statement", ["UPDATE activations SET at = 0", "DELETE FROM activations"])
def test_law_9_what_a_sequence_named_cannot_be_changed(store, raw, approved, go_live, statement):
    go_live(approved())
    with pytest.raises(sqlite3.IntegrityError, match="activations only grows"):
        raw.execute(statement)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("value", ["'forged'", "x'ff00'", "CAST(x'ff' AS TEXT)", "7"])
def test_law_10_an_altered_entry_is_found(store, unguarded, column, value):
    unguarded.execute(f"UPDATE audit SET {column} = {value} WHERE sequence = 4")
    verdict = store.audit.verify()
    assert (verdict.intact, verdict.first_bad) == (False, 4)


def test_law_10_a_removed_entry_is_found(store, unguarded):
    unguarded.execute("DELETE FROM audit WHERE sequence = 4")
    verdict = store.audit.verify()
    assert verdict.first_bad == 4
    assert "missing" in verdict.reason


def test_law_10_removed_last_entries_are_found(store, unguarded):
    unguarded.execute("DELETE FROM audit WHERE sequence >= 8")
    assert store.audit.verify().first_bad == 8


def test_law_10_reordered_entries_are_found(store, unguarded):
    for old, new in ((4, 0), (5, 4), (0, 5)):
        unguarded.execute("UPDATE audit SET sequence = ? WHERE sequence = ?", (new, old))
    assert store.audit.verify().first_bad == 4


def test_law_10_an_inserted_entry_is_found(store, unguarded):
    unguarded.execute(
        "INSERT INTO audit SELECT 10, at, actor, action, subject, deployment, note, details, "
        "hash, hash FROM audit WHERE sequence = 9"
    )
    assert store.audit.verify().first_bad == 10


def test_law_10_a_lost_head_is_found(store, unguarded):
    unguarded.execute("DELETE FROM audit_head")
    assert not store.audit.verify().intact


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sequence=st.integers(1, 9),
    column=st.sampled_from([name for name in COLUMNS if name not in ("subject", "deployment")]),
    at=st.integers(0, 1000),
    mask=st.integers(1, 127),
)
def test_law_10_any_single_changed_character_is_found(store, unguarded, sequence, column, at, mask):
    where = f"FROM audit WHERE sequence = {sequence}"
    (old,) = unguarded.execute(f"SELECT {column} {where}").fetchone()
    at %= len(old) + 1
    new = old[:at] + (chr(ord(old[at]) ^ mask) if at < len(old) else "+") + old[at + 1 :]
    put = f"UPDATE audit SET {column} = ? WHERE sequence = {sequence}"
    unguarded.execute(put, (new,))
    assert store.audit.verify().first_bad == sequence
    unguarded.execute(put, (old,))
    assert store.audit.verify().intact


def test_entries_come_in_pages_and_by_subject(store, raw):
    first = store.audit.entries(limit=1)[0]
    assert [entry.sequence for entry in store.audit.entries(after=7)] == [8, 9]
    assert {entry.subject for entry in store.audit.entries(subject=first.subject)} == {
        first.subject
    }


def test_the_latest_entry_about_each_subject(store, evaluated, go_live, monkeypatch):
    monkeypatch.setattr("policy_store.audit.SUBJECTS_AT_ONCE", 1)
    digests = [evaluated() for _ in range(3)]
    for digest in digests[:2]:
        for note in ("first", "second"):
            store.approve(digest, by="ada", note="good")
            go_live(digest)
            store.eject(digest, by="host", note=note)
    latest = store.audit.latest(digests, ["ejected", "rolled_back"])
    assert {digest: entry.note for digest, entry in latest.items()} == dict.fromkeys(
        digests[:2], "second"
    )
