"""The snapshot file: whole, signed, for here and now, never backwards, read without a database."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_store.errors import (
    SnapshotDamaged,
    SnapshotError,
    SnapshotExpired,
    SnapshotForged,
    SnapshotMisdirected,
    SnapshotMissing,
    SnapshotNotYetValid,
    SnapshotStale,
    SnapshotUnsigned,
    SnapshotUntrusted,
)
from policy_store.keys import TrustedKeys, new_signing_key, write_trusted
from policy_store.records import Alias
from policy_store.snapshot import (
    Approval,
    Snapshot,
    SnapshotCanary,
    SnapshotPolicy,
    check_snapshot,
    read_snapshot,
    sign_snapshot,
    write_snapshot,
)
from policy_store.statement import file_text
from sandbox.identity import policy_digest

ISSUED = datetime(2030, 1, 1, tzinfo=UTC)
APPROVED = Approval("ada", "a" * 64)


def policy(knee):
    parameters = {"KNEE": knee}
    return SnapshotPolicy(policy_digest("x = 1", parameters, 1), "x = 1", parameters, 1, APPROVED)


SNAPSHOT = Snapshot(
    7, policy(0.1), policy(0.2), ISSUED, ISSUED, ISSUED + timedelta(days=30), "b" * 64
)
TRIALS = replace(SNAPSHOT, canary=SnapshotCanary(policy(0.3), 0.25), shadow=policy(0.4))


def on_day(day):
    return lambda: ISSUED + timedelta(days=day)


@pytest.fixture
def path(tmp_path, signing_key):
    write_snapshot(tmp_path / "active.json", SNAPSHOT, signing_key)
    return tmp_path / "active.json"


@pytest.fixture
def read(trusted):
    return partial(read_snapshot, trusted=trusted, clock=on_day(1))


@pytest.fixture
def check(trusted):
    return partial(check_snapshot, trusted=trusted, clock=on_day(1))


def rewrite(path, content):
    os.chmod(path, 0o644)
    path.write_bytes(content)


def changed(path, change):
    body = json.loads(path.read_text())
    change(body)
    rewrite(path, json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


@settings(max_examples=30)
@given(st.dictionaries(st.text("KNE_", min_size=1), st.floats(-1e300, 1e300)), st.text())
def test_round_trip(tmp_path_factory, signing_key, trusted, parameters, source):
    source = source.encode("utf-8", "ignore").decode()
    digest = policy_digest(source, parameters, 2)
    active = SnapshotPolicy(digest, source, parameters, 2, APPROVED)
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    written = write_snapshot(path, replace(SNAPSHOT, active=active), signing_key)
    assert read_snapshot(path, trusted, clock=on_day(0)) == written
    assert written.active == active


@pytest.mark.parametrize(
    "trials",
    [{}, {"canary": TRIALS.canary}, {"shadow": TRIALS.shadow},
     {"canary": TRIALS.canary, "shadow": TRIALS.shadow}],
)  # fmt: skip
def test_trials_come_back_and_only_they_need_the_newer_schema(
    tmp_path, signing_key, trusted, trials
):
    path = tmp_path / "s.json"
    written = write_snapshot(path, replace(SNAPSHOT, **trials), signing_key)
    assert read_snapshot(path, trusted, clock=on_day(0)) == written
    assert json.loads(path.read_text())["schema"] == (3 if trials else 2)


@pytest.mark.parametrize("weight", [0, -0.1, 1.5, "1", None, True])
def test_a_canarys_weight_is_a_share(tmp_path, read, signing_key, weight):
    path = tmp_path / "s.json"
    write_snapshot(path, TRIALS, signing_key)
    changed(path, lambda body: body["canary"].update(weight=weight))
    with pytest.raises(SnapshotDamaged, match="does not parse"):
        read(path)


def test_a_trial_changes_the_sequence_and_is_in_the_snapshot(store, approved, go_live):
    active, canary, shadow = approved(), approved(), approved()
    go_live(active)
    store.place(canary, Alias.CANARY, 0, "ada", "try it", weight=0.2)
    store.place(shadow, Alias.SHADOW, 0, "ada", "look at it")
    snapshot = store.snapshot()
    assert (snapshot.sequence, snapshot.digest, snapshot.canary.weight) == (3, active, 0.2)
    assert (snapshot.canary.policy.digest, snapshot.shadow.digest) == (canary, shadow)
    store.withdraw(Alias.CANARY, 2, "ada", "seen enough")
    assert (store.snapshot().sequence, store.snapshot().canary) == (4, None)


@given(data=st.data())
@pytest.mark.parametrize("whole", [SNAPSHOT, TRIALS], ids=["plain", "trials"])
def test_law_9_no_bit_of_a_signed_snapshot_can_change(
    tmp_path_factory, signing_key, trusted, whole, data
):
    content = bytearray(file_text(sign_snapshot(whole, signing_key)).encode())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path = tmp_path_factory.getbasetemp() / "one-bit.json"
    path.write_bytes(content)
    with pytest.raises(SnapshotError):
        read_snapshot(path, trusted, clock=on_day(1))


def test_no_byte_of_the_signature_can_change(path, read):
    content = path.read_bytes()
    for place in range(content.index(b'"signature"'), len(content)):
        altered = bytearray(content)
        altered[place] ^= 1 << place % 8
        rewrite(path, bytes(altered))
        with pytest.raises(SnapshotError):
            read(path)


def test_another_spelling_of_the_same_is_refused(path, read):
    rewrite(path, path.read_bytes() + b"\n")
    with pytest.raises(SnapshotDamaged, match="spelt"):
        read(path)


def test_file_is_read_only_and_leaves_no_scraps(path):
    assert path.stat().st_mode & 0o777 == 0o444
    assert sorted(os.listdir(path.parent)) == ["active.json", "active.json.lock"]


def test_the_store_publishes_what_is_live(store, approved, go_live, tmp_path, signing_key, trusted):
    first, second = approved(), approved()
    go_live(first)
    go_live(second)
    write_snapshot(tmp_path / "s.json", store.snapshot(), signing_key)
    snapshot = read_snapshot(tmp_path / "s.json", trusted)
    assert (snapshot.sequence, snapshot.digest) == (2, second)
    assert snapshot.last_good.digest == first
    assert snapshot.active.source == store.show(second).source.text


def test_a_snapshot_names_who_approved_and_where_that_is_written(store, approved, go_live):
    digest = approved()
    go_live(digest)
    by_action = {entry.action: entry for entry in store.history(digest)}
    snapshot = store.snapshot()
    assert snapshot.active.approved == Approval("ada", by_action["approved"].hash)
    assert snapshot.audit_head == store.audit.verify().head


def test_writing_again_does_not_make_it_valid_for_longer(store, approved, go_live):
    go_live(approved())
    first, again = store.snapshot(), store.snapshot()
    assert (first.not_before, first.expires_at) == (again.not_before, again.expires_at)
    assert first.expires_at - first.not_before == timedelta(days=30)


def test_nothing_live_means_the_built_in_default(store, tmp_path, signing_key, trusted):
    write_snapshot(tmp_path / "s.json", store.snapshot(), signing_key)
    assert read_snapshot(tmp_path / "s.json", trusted).digest is None


def test_reader_and_writer_never_go_back(path, read, signing_key):
    assert read(path, newest_seen=7).sequence == 7
    with pytest.raises(SnapshotStale, match="sequence 7, below 8"):
        read(path, newest_seen=8)
    with pytest.raises(SnapshotStale):
        write_snapshot(path, replace(SNAPSHOT, sequence=6), signing_key)
    assert read(path).sequence == 7


def test_a_forged_file_does_not_keep_the_store_from_writing(path, read, signing_key, tmp_path):
    stranger = new_signing_key(tmp_path / "stranger")
    rewrite(path, file_text(sign_snapshot(replace(SNAPSHOT, sequence=99), stranger)).encode())
    write_snapshot(path, SNAPSHOT, signing_key)
    assert read(path).sequence == 7


@pytest.mark.parametrize(
    "change",
    [{"sequence": 8}, {"deployment": "other"}, {"expires_at": ISSUED + timedelta(days=31)},
     {"not_before": ISSUED - timedelta(days=1)}, {"active": None}, {"active": policy(0.3)},
     {"last_good": None}, {"audit_head": "c" * 64},
     {"active": replace(policy(0.1), approved=Approval("eve", "a" * 64))}],
)  # fmt: skip
def test_the_signature_covers_everything_else(check, signing_key, change):
    signed = sign_snapshot(SNAPSHOT, signing_key)
    with pytest.raises(SnapshotForged, match="find out who"):
        check(replace(signed, **change))


def test_unsigned_is_refused(check):
    with pytest.raises(SnapshotUnsigned, match="not signed"):
        check(SNAPSHOT)


def test_without_trusted_keys_nothing_is_believed(check, signing_key):
    with pytest.raises(SnapshotUntrusted, match="evolver keys trust"):
        check(sign_snapshot(SNAPSHOT, signing_key), trusted=TrustedKeys())


def test_a_strangers_key_under_a_trusted_name_is_refused(check, signing_key, tmp_path):
    stranger = new_signing_key(tmp_path)
    signed = sign_snapshot(SNAPSHOT, stranger)
    posing = replace(signed.signature, key=signing_key.public.id)
    with pytest.raises(SnapshotUntrusted):
        check(signed)
    with pytest.raises(SnapshotForged):
        check(replace(signed, signature=posing))


def test_two_keys_are_good_while_they_are_changed(check, signing_key, trusted, tmp_path):
    fresh = new_signing_key(tmp_path)
    both = trusted.with_key(fresh.public)
    for key in (signing_key, fresh):
        assert check(sign_snapshot(SNAPSHOT, key), trusted=both) == key.public


@pytest.mark.parametrize(
    ("day", "refusal", "mend"),
    [(-0.001, SnapshotNotYetValid, "set the clocks"), (30, SnapshotExpired, "policy renew"),
     (400, SnapshotExpired, "policy renew")],
)  # fmt: skip
def test_only_what_is_valid_now_is_accepted(check, signing_key, day, refusal, mend):
    signed = sign_snapshot(SNAPSHOT, signing_key)
    check(signed, clock=on_day(0))
    check(signed, clock=on_day(29.999))
    with pytest.raises(refusal, match=mend):
        check(signed, clock=on_day(day))


def test_another_deployments_snapshot_is_refused(check, signing_key):
    with pytest.raises(SnapshotMisdirected, match="this host serves 'batch'"):
        check(sign_snapshot(SNAPSHOT, signing_key), deployment="batch")


@pytest.mark.parametrize("role", ["active", "last_good", "shadow"])
@pytest.mark.parametrize(
    "change", [{"source": "x = 2"}, {"parameters": {"KNEE": 0.3}}, {"contract_version": 2},
               {"digest": "0" * 64}]
)  # fmt: skip
def test_what_does_not_match_its_digest_is_refused_though_signed(check, signing_key, role, change):
    wrong = replace(TRIALS, **{role: replace(getattr(TRIALS, role), **change)})
    with pytest.raises(SnapshotDamaged):
        check(sign_snapshot(wrong, signing_key))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", b"{}", b"[" * 100_000, b'{"schema": 1}', b" " * 2_000_000],
)
def test_gibberish_is_refused(tmp_path, read, content):
    (tmp_path / "active.json").write_bytes(content)
    with pytest.raises(SnapshotDamaged, match="evolver policy publish"):
        read(tmp_path / "active.json")


@pytest.mark.parametrize(
    ("field", "value"),
    [("sequence", "9"), ("sequence", -1), ("sequence", True), ("issued_at", "2030-01-01"),
     ("deployment", 3), ("signature", 3), ("signature", {"key": 1, "value": "0"}), ("active", []),
     ("expires_at", None), ("audit_head", 0)],
)  # fmt: skip
def test_a_field_of_the_wrong_kind_is_refused(path, read, field, value):
    changed(path, lambda body: body.update({field: value}))
    with pytest.raises(SnapshotDamaged):
        read(path)


@pytest.mark.parametrize("value", [True, float("nan"), 10**400, "1", None])
def test_a_parameter_that_is_no_number_is_refused(path, read, value):
    changed(path, lambda body: body["active"]["parameters"].update(KNEE=value))
    with pytest.raises(SnapshotDamaged):
        read(path)


def test_absent_file_and_folder_are_told_apart(tmp_path, read):
    with pytest.raises(SnapshotMissing, match="no active snapshot"):
        read(tmp_path / "none.json")
    with pytest.raises(SnapshotDamaged):
        read(tmp_path)


def test_a_wrong_snapshot_is_not_written_and_a_damaged_file_is_replaced(path, read, signing_key):
    wrong = replace(SNAPSHOT, active=replace(policy(0.1), source="x = 3"))
    with pytest.raises(SnapshotDamaged):
        write_snapshot(path, wrong, signing_key)
    rewrite(path, b"{}")
    write_snapshot(path, SNAPSHOT, signing_key)
    assert replace(read(path), signature=None) == SNAPSHOT


def test_a_host_needs_no_database_to_read(path, trusted, tmp_path):
    write_trusted(tmp_path / "trusted_keys.json", trusted)
    script = (
        "import sys; from pathlib import Path; from policy_store import read_snapshot; "
        "from policy_store.keys import read_trusted; from datetime import datetime, UTC; "
        f"trusted = read_trusted(Path({str(tmp_path)!r}) / 'trusted_keys.json'); "
        f"read_snapshot({str(path)!r}, trusted, clock=lambda: datetime(2030, 1, 2, tzinfo=UTC)); "
        "print(sorted({'sqlalchemy', 'alembic', 'fastapi', 'numba', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_what_a_policy_was_proved_with_comes_back_and_only_that_needs_the_newest_schema(
    tmp_path, signing_key, trusted
):
    path = tmp_path / "s.json"
    proved = replace(SNAPSHOT, active=replace(SNAPSHOT.active, signals="gateway"))
    written = write_snapshot(path, proved, signing_key)
    assert read_snapshot(path, trusted, clock=on_day(0)) == written
    body = json.loads(path.read_text())
    assert body["schema"] == 4
    assert (body["active"]["signals"], body["last_good"]["signals"]) == ("gateway", None)
    for change in (
        lambda body: body["active"].update(signals=None),  # which an older schema says
        lambda body: body["active"].update(signals=1),
        lambda body: body["last_good"].pop("signals"),
        lambda body: body.update(schema=3),
    ):
        write_snapshot(path, proved, signing_key)
        changed(path, change)
        with pytest.raises(SnapshotDamaged, match="does not parse"):
            read_snapshot(path, trusted, clock=on_day(0))
