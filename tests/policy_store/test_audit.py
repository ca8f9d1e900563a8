"""Law 10: the audit log only grows, and a change to any past entry is detected."""

import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy_store.audit import entry_hash
from sandbox.identity import canonical_json, text_digest

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


def test_law_10_an_emptied_log_is_found(store, unguarded):
    unguarded.execute("DELETE FROM audit")
    assert store.audit.verify().first_bad == 1


@pytest.mark.parametrize("sequences", [(4, 5), (1, 9), (8, 9)])
def test_law_10_exchanged_contents_are_found(store, unguarded, sequences):
    where = "SELECT {} FROM audit WHERE sequence = ?"
    names = "at, actor, action, subject, deployment, note, details"
    rows = [unguarded.execute(where.format(names), (one,)).fetchone() for one in sequences]
    put = ", ".join(f"{name} = ?" for name in names.split(", "))
    for row, sequence in zip(rows, reversed(sequences), strict=True):
        unguarded.execute(f"UPDATE audit SET {put} WHERE sequence = ?", (*row, sequence))
    assert store.audit.verify().first_bad == sequences[0]


@pytest.mark.parametrize("after", [1, 4, 8])
def test_law_10_an_entry_forged_into_the_middle_is_found(store, unguarded, after):
    query = "SELECT {} FROM audit WHERE sequence = ?"
    for sequence in range(9, after, -1):
        move = "UPDATE audit SET sequence = ? WHERE sequence = ?"
        unguarded.execute(move, (sequence + 1, sequence))
    (previous,) = unguarded.execute(query.format("hash"), (after,)).fetchone()
    fields = (after + 1, "2031-01-01T00:00:00.000000+00:00", "eve", "approved", "f" * 64, None,
              "good", "{}", previous)  # fmt: skip
    marks = ", ".join("?" * 10)
    unguarded.execute(f"INSERT INTO audit VALUES ({marks})", (*fields, entry_hash(*fields)))
    verdict = store.audit.verify()
    # The forged one follows from the one before it; the one after it shows that it does not belong.
    assert (verdict.intact, verdict.first_bad) == (False, after + 2)


@pytest.mark.parametrize("column", ["sequence", "hash"])
def test_law_10_a_changed_head_is_found(store, unguarded, column):
    value = 8 if column == "sequence" else "f" * 64
    unguarded.execute(f"UPDATE audit_head SET {column} = ?", (value,))
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


def test_entries_come_newest_first_between_two_and_by_whom_and_what(store, raw):
    def found(**wanted):
        return [entry.sequence for entry in store.audit.entries(**wanted)]

    assert found(newest_first=True, limit=3) == [9, 8, 7]
    assert found(newest_first=True, before=7, after=4) == [6, 5]
    assert found(actor="simulator") == found(action="evidence_attached") == [3, 6, 9]
    assert found(actor="simulator", action="proposed") == []


def test_an_entry_is_hashed_over_the_canonical_json_of_its_fields(store, approved):
    store.eject(approved(), by='Bo "quoted" Ünal', note="two\nlines, a \U0001f600 and \x7f")
    for entry in store.audit.entries():
        fields = {name: getattr(entry, name) for name in COLUMNS if name != "hash"}
        fields["at"] = entry.at.isoformat(timespec="microseconds")
        fields["details"] = canonical_json(entry.details)
        text = canonical_json({**fields, "sequence": entry.sequence})
        assert entry.hash == text_digest(text)


def test_law_10_a_log_that_was_rewritten_whole_is_found_by_a_head_kept_elsewhere(
    store, unguarded, evaluated
):
    kept = store.audit.head()[1]
    evaluated()
    assert store.audit.verify(heads=[kept]).intact
    previous, rows = "0" * 64, unguarded.execute("SELECT * FROM audit ORDER BY sequence")
    for sequence, *fields, _, _ in rows.fetchall():
        fields[5] = "nothing to see"
        digest = entry_hash(sequence, *fields, previous)
        unguarded.execute(
            "UPDATE audit SET note = ?, previous_hash = ?, hash = ? WHERE sequence = ?",
            (fields[5], previous, digest, sequence),
        )
        previous = digest
    unguarded.execute("UPDATE audit_head SET hash = ?", (previous,))
    assert store.audit.verify().intact
    verdict = store.audit.verify(heads=[kept])
    assert (verdict.intact, verdict.missing) == (False, (kept,))


@pytest.mark.parametrize("page", [1, 2, 9, 10])
def test_law_10_progress_and_verdict_do_not_depend_on_pages(store, unguarded, monkeypatch, page):
    monkeypatch.setattr("policy_store.audit.PAGE", page)
    told = []
    assert store.audit.verify(progress=told.append).entries == sum(told) == 9
    unguarded.execute("UPDATE audit SET note = CAST(x'ff' AS TEXT) WHERE sequence = 6")
    assert store.audit.verify().first_bad == 6


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
