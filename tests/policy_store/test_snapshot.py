"""The snapshot file: whole, verified, never backwards, readable without a database."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_store.errors import SnapshotDamaged, SnapshotError, SnapshotMissing, SnapshotStale
from policy_store.snapshot import (
    Snapshot,
    SnapshotPolicy,
    read_snapshot,
    signed_text,
    write_snapshot,
)
from sandbox.identity import policy_digest


def policy(knee):
    parameters = {"KNEE": knee}
    return SnapshotPolicy(policy_digest("x = 1", parameters, 1), "x = 1", parameters, 1)


SNAPSHOT = Snapshot(7, policy(0.1), policy(0.2), datetime(2030, 1, 1, tzinfo=UTC))


@pytest.fixture
def path(tmp_path):
    write_snapshot(tmp_path / "active.json", SNAPSHOT)
    return tmp_path / "active.json"


def rewrite(path, change):
    body = json.loads(path.read_text())
    change(body)
    os.chmod(path, 0o644)
    path.write_text(json.dumps(body))


@given(st.dictionaries(st.text("KNE_", min_size=1), st.floats(-1e300, 1e300)), st.text())
def test_round_trip(tmp_path_factory, parameters, source):
    source = source.encode("utf-8", "ignore").decode()
    digest = policy_digest(source, parameters, 2)
    snapshot = replace(SNAPSHOT, active=SnapshotPolicy(digest, source, parameters, 2))
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    write_snapshot(path, snapshot)
    assert read_snapshot(path) == snapshot


def test_file_is_read_only_and_leaves_no_scraps(path):
    assert path.stat().st_mode & 0o777 == 0o444
    assert sorted(os.listdir(path.parent)) == ["active.json", "active.json.lock"]


def test_the_store_publishes_what_is_live(store, approved, go_live, tmp_path):
    first, second = approved(), approved()
    go_live(first)
    go_live(second)
    write_snapshot(tmp_path / "s.json", store.snapshot())
    snapshot = read_snapshot(tmp_path / "s.json")
    assert (snapshot.sequence, snapshot.digest) == (2, second)
    assert snapshot.last_good.digest == first
    assert snapshot.active.source == store.show(second).source.text


def test_nothing_live_means_the_built_in_default(store, tmp_path):
    write_snapshot(tmp_path / "s.json", store.snapshot())
    assert read_snapshot(tmp_path / "s.json").digest is None


def test_reader_and_writer_never_go_back(path):
    assert read_snapshot(path, newest_seen=7).sequence == 7
    with pytest.raises(SnapshotStale, match="sequence 7, below 8"):
        read_snapshot(path, newest_seen=8)
    with pytest.raises(SnapshotStale):
        write_snapshot(path, replace(SNAPSHOT, sequence=6))
    assert read_snapshot(path).sequence == 7


@pytest.mark.parametrize("role", ["active", "last_good"])
@pytest.mark.parametrize(
    "change",
    [
        {"source": "x = 2"},
        {"parameters": {"KNEE": 0.3}},
        {"parameters": {"KNEE": True}},
        {"parameters": {"KNEE": float("nan")}},
        {"parameters": {"KNEE": 10**400}},
        {"contract_version": 2},
        {"digest": "0" * 64},
        {"source": None},
    ],
)
def test_what_does_not_match_its_digest_is_refused(path, role, change):
    rewrite(path, lambda body: body[role].update(change))
    with pytest.raises(SnapshotDamaged):
        read_snapshot(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", b"{}", b"[" * 100_000, b'{"schema": 2}', b" " * 2_000_000],
)
def test_gibberish_is_refused(tmp_path, content):
    (tmp_path / "active.json").write_bytes(content)
    with pytest.raises(SnapshotDamaged, match="have the store write it again"):
        read_snapshot(tmp_path / "active.json")


@pytest.mark.parametrize(
    ("field", "value"),
    [("sequence", "9"), ("sequence", -1), ("sequence", True), ("issued_at", "2030-01-01"),
     ("deployment", 3), ("signature", 3), ("active", [])],
)  # fmt: skip
def test_a_field_of_the_wrong_kind_is_refused(path, field, value):
    rewrite(path, lambda body: body.update({field: value}))
    with pytest.raises(SnapshotDamaged):
        read_snapshot(path)


def test_absent_file_and_folder_are_told_apart(tmp_path):
    with pytest.raises(SnapshotMissing, match="no active snapshot"):
        read_snapshot(tmp_path / "none.json")
    with pytest.raises(SnapshotError):
        read_snapshot(tmp_path)


def test_a_wrong_snapshot_is_not_written_and_a_damaged_file_is_replaced(path):
    wrong = replace(SNAPSHOT, active=replace(policy(0.1), source="x = 3"))
    with pytest.raises(SnapshotDamaged):
        write_snapshot(path, wrong)
    rewrite(path, lambda body: body.update(sequence="none"))
    write_snapshot(path, SNAPSHOT)
    assert read_snapshot(path) == SNAPSHOT


def test_a_signature_covers_all_but_itself():
    assert signed_text(SNAPSHOT) == signed_text(replace(SNAPSHOT, signature="s"))
    assert signed_text(SNAPSHOT) != signed_text(replace(SNAPSHOT, sequence=8))


def test_a_host_needs_no_database_to_read(path):
    script = (
        "import sys; from policy_store import read_snapshot; "
        f"read_snapshot({str(path)!r}); "
        "print(sorted({'sqlalchemy', 'alembic', 'fastapi', 'numba', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
