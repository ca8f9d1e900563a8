"""Backup and restore, from either database to either: whole, of one moment, or refused."""

import gzip
import hashlib
import json
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from policy_store import Alias, PolicyStore
from policy_store.backup_format import LEFT_OUT, check_backup
from policy_store.daemon_book import Episode
from policy_store.engine import make_engine, store_url
from policy_store.errors import BackupTooNew, BackupUnusable, InvalidInput, StoreNotEmpty
from policy_store.records import Ejection, HostReport, Kind, Role
from policy_store.tables import (
    AccountRow,
    Base,
    LinkRow,
    RuleRow,
    SessionRow,
    TokenRow,
)

NOW = datetime(2031, 4, 1, 12, 30, 15, 123456, tzinfo=UTC)


def sign_up(store):
    """A person with a session, a link and a token, and a rule."""
    later = NOW + timedelta(days=1)
    keys = {"account": "ada", "created_at": NOW, "expires_at": later}
    with store._database.deciding() as session:
        session.add(
            AccountRow(
                name="ada", likeness="ada", role=Role.ADMIN, created_at=NOW, password="scrypt$x"
            )
        )
        session.flush()
        session.add_all([
            SessionRow(digest="1" * 64, csrf="2" * 64, seen_at=NOW, **keys),
            LinkRow(digest="3" * 64, **keys),
            TokenRow(digest="4" * 64, name="ci", scopes="read", **keys),
            RuleRow(id=1, name="small steps", text="[when]\n", installed_by="ada",
                    installed_at=NOW),
        ])  # fmt: skip


def fill(store, prepare):
    """Something in every table."""
    sign_up(store)
    run = store.runs.start_run("evolve", {"seed": 1, "limits": {"evaluations": 8.5}})
    store.runs.append_events(run.id, [("scored", {"n": n, "none": None}) for n in range(7)])
    store.runs.finish_run(run.id, "improved", {"gain": 0.07})
    first, second, third = (prepare(store, number) for number in (1, 2, 3))
    child = store.propose(
        "# Ünal \U0001f600\n", name="child", origin="llm", author="m", contract_version=1,
        parents=(first, second), run=run.id,
    )  # fmt: skip
    store.attach_evidence(first, {"requests": [1.5, None]}, by="ada", kind=Kind.CLOSE_UP)
    for sequence, digest in enumerate((first, second)):
        store.approve(digest, by="ada", note="good")
        store.activate(digest, sequence, by="ada", note="live")
    store.approve(third, by="ada", note="good")
    store.place(third, Alias.CANARY, 0, by="ada", note="try", weight=0.05)
    ejection = Ejection(first, 1, "ERROR", "it raised", NOW)
    store.report_host(HostReport("h1", "default", 1, first, NOW, (ejection,), {"decisions": 3.0}))
    lease = store.leases.hold("daemon:default", "h1:7", 30.0)
    seen, began = store.daemons.read("default"), Episode("default", 1, NOW, facts={"why": "drift"})
    store.daemons.move(lease, seen, "evolving", {"attempts": 1}, episode=began)
    return child


def rows_of(where):
    """Every row of every table, as the driver's types."""
    engine = make_engine(store_url(where))
    with engine.connect() as connection:
        found = {
            table.name: [tuple(row) for row in connection.execute(
                select(table).order_by(*table.primary_key.columns))]
            for table in Base.metadata.sorted_tables
        }  # fmt: skip
    engine.dispose()
    return found


@pytest.fixture
def elsewhere(request, tmp_path):
    """A place where nothing is yet, by the kind of database."""

    def place(kind):
        if kind == "sqlite":
            return str(tmp_path / "new.db")
        database = request.getfixturevalue("postgres").database()
        url = database.__enter__()
        request.addfinalizer(lambda: database.__exit__(None, None, None))
        return url

    return place


@pytest.fixture
def backup(store_path, prepare, tmp_path):
    with PolicyStore.open(store_path) as store:
        fill(store, prepare)
        return store.back_up(tmp_path / "store.evb").path


@pytest.fixture
def refused(elsewhere):
    """Restoring fails for this reason, and leaves nothing."""

    def check(path, error, reason):
        target = elsewhere("sqlite")
        with pytest.raises(error, match=reason):
            PolicyStore.restore(target, path, by="ada")
        with closing(sqlite3.connect(target)) as raw:
            assert raw.execute("SELECT * FROM sqlite_master").fetchall() == []

    return check


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_everything_comes_back_on_either_database_from_either(
    store, store_url, prepare, elsewhere, tmp_path, target
):
    fill(store, prepare)
    written = rows_of(store_url)
    assert all(written.values()), [name for name, rows in written.items() if not rows]
    taken = store.back_up(tmp_path / "store.evb")
    assert taken.rows == {n: len(rows) for n, rows in written.items() if n not in LEFT_OUT}
    place = elsewhere(target)
    assert PolicyStore.restore(place, taken.path, by="bo", note="disk lost") == taken
    restored = rows_of(place)
    last = restored["audit"].pop()
    assert (last[2], last[3], last[6]) == ("bo", "restored", "disk lost")
    for name in LEFT_OUT:
        assert restored.pop(name) == []
        del written[name]
    del written["audit_head"], restored["audit_head"]
    assert restored == written
    with PolicyStore.open(place) as store:
        assert store.check(heads=[store.audit.head()[1], written["audit"][-1][-1]]).intact
        assert store.rollback("ada", "goes on as before").sequence == 4


def test_a_backup_is_of_one_moment_while_others_write(store, prepare, elsewhere, tmp_path):
    fill(store, prepare)
    before = store.row_counts()

    def meanwhile(table, _):
        if table not in ("sources", "audit", "versions"):
            return
        digest = prepare(store, 100 + len(table))
        store.approve(digest, by="ada", note="meanwhile")
        store.activate(digest, store.slot().sequence, by="ada", note="meanwhile")

    taken = store.back_up(tmp_path / "store.evb", meanwhile)
    assert store.row_counts()["versions"] > before["versions"] == taken.rows["versions"]
    place = elsewhere("sqlite")
    PolicyStore.restore(place, taken.path, by="ada")
    with PolicyStore.open(place) as copy:
        assert copy.check().intact


def test_only_its_owner_reads_a_backup_and_nothing_is_replaced(store, tmp_path):
    path = store.back_up(tmp_path / "store.evb").path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_bytes()
    with pytest.raises(InvalidInput, match="name a new file"):
        store.back_up(path)
    assert path.read_bytes() == content


def test_a_backup_that_fails_leaves_no_file(store, tmp_path):
    def fail(*_):
        raise OSError("the disk is full")

    sign_up(store)
    with pytest.raises(OSError, match="full"):
        store.back_up(tmp_path / "store.evb", fail)
    assert not list(tmp_path.glob("*evb*"))


@pytest.mark.parametrize("at", [2, 200, -200, -5, -1])
def test_a_changed_byte_is_found(backup, refused, at):
    content = bytearray(backup.read_bytes())
    content[at] ^= 0x40
    backup.write_bytes(content)
    refused(backup, BackupUnusable, r"damaged|too early|no backup")


@pytest.mark.parametrize("left", [1, 15, 300, -9, -1])
def test_a_cut_file_is_found(backup, refused, left):
    backup.write_bytes(backup.read_bytes()[:left])
    refused(backup, BackupUnusable, r"too early|no backup")


@pytest.mark.parametrize(
    "content",
    [b"", b"SQLite format 3\0", gzip.compress(b"music\n"), gzip.compress(b'{"format": "x"}\n')],
    ids=["nothing", "a store", "music", "another format"],
)
def test_what_is_no_backup_is_refused(refused, tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    refused(tmp_path / "file", BackupUnusable, "no backup of a policy store")


def rewritten(backup, change, drop=()):
    """The same backup with changed lines and a digest that fits them."""
    lines = [json.loads(line) for line in gzip.decompress(backup.read_bytes()).splitlines()]
    changed = [line for line in map(change, lines[:-1]) if line is not None]
    text = b"".join(json.dumps(line).encode() + b"\n" for line in changed)
    counts = {name: n for name, n in lines[-1]["rows"].items() if name not in drop}
    end = {"rows": counts, "sha256": hashlib.sha256(text).hexdigest()}
    backup.write_bytes(gzip.compress(text + json.dumps(end).encode() + b"\n"))


@pytest.mark.parametrize(("field", "value"), [("version", 2), ("schema", "0999")])
def test_a_later_versions_backup_says_what_to_type(backup, refused, field, value):
    rewritten(backup, lambda line: {**line, field: value} if "format" in line else line)
    refused(backup, BackupTooNew, "pip install --upgrade evolver")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"live"', '"dead"', r"damaged store \(audit 1\d"),
        ("return 0", "return 1", r"damaged store \(source"),
        ("2031-04-01T", "once upon a time", "do not fit together"),
        ("canary", "parrot", "do not fit together|damaged store"),
        ("weight", "burden", "fit nothing"),
        ('"versions"', '"music"', "fit nothing"),
    ],
)  # fmt: skip
def test_a_forged_backup_is_refused_whole(backup, refused, old, new, reason):
    def forge(line):
        return json.loads(json.dumps(line).replace(old, new)) if "format" not in line else line

    rewritten(backup, forge)
    refused(backup, BackupUnusable, reason)


def test_missing_rows_are_noticed(backup, refused):
    lines = iter(range(1000))
    rewritten(backup, lambda line: None if isinstance(line, list) and next(lines) == 3 else line)
    refused(backup, BackupUnusable, "damaged")


def test_a_backup_of_an_older_schema_is_brought_up(backup, elsewhere):
    later = {"slots": ["weight"], "hosts": ["facts"], "attachments": ["kind"],
             "runs": ["pruned_at"]}  # fmt: skip
    new, here = ("accounts", "rules", "daemons", "episodes"), {}

    def older(line):
        if isinstance(line, dict):
            here.clear()
            here.update(line)
            if line.get("table") in new:
                return None
            columns = [name for name in line.get("columns", ())
                       if name not in later.get(line["table"], ())]  # fmt: skip
            return {**line, "columns": columns} if columns else {**line, "schema": "0001"}
        if here["table"] in new:
            return None
        gone = later.get(here["table"], ())
        return [one for name, one in zip(here["columns"], line, strict=True) if name not in gone]

    rewritten(backup, older, new)
    place = elsewhere("sqlite")
    assert PolicyStore.restore(place, backup, by="ada").schema == "0001"
    with PolicyStore.open(place) as store:
        assert store.check().intact
        assert store.slot(Alias.CANARY).weight is None


def test_a_damaged_store_is_not_restored(store_path, prepare, refused, tmp_path):
    with PolicyStore.open(store_path) as store:
        fill(store, prepare)
        with sqlite3.connect(store_path) as raw:
            raw.execute("UPDATE evidence SET document = '{}'")
        raw.close()
        path = store.back_up(tmp_path / "store.evb").path
    refused(path, BackupUnusable, "damaged store .evidence")


def test_nothing_is_restored_over_something(backup, store_url):
    with PolicyStore.open(store_url) as store:
        store.runs.start_run("evolve", {})
        counts = store.row_counts()
        with pytest.raises(StoreNotEmpty, match="not empty"):
            PolicyStore.restore(store_url, backup, by="ada")
        assert store.row_counts() == counts


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_restore_that_is_interrupted_leaves_nothing_and_is_done_again(backup, elsewhere, kind):
    place = elsewhere(kind)

    def stop(table, _):
        if table == "activations":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PolicyStore.restore(place, backup, by="ada", progress=stop)
    with PolicyStore.open(place) as store:
        assert store.row_counts()["versions"] == 0
    assert PolicyStore.restore(place, backup, by="ada").rows["versions"] == 4


def test_what_hosts_have_seen_since_is_not_named_again(backup, elsewhere):
    place = elsewhere("sqlite")
    PolicyStore.restore(place, backup, by="ada", seen={"default": 12, "never": 3})
    with PolicyStore.open(place) as store:
        active, snapshot = store.slot(), store.snapshot()
        assert (active.sequence, snapshot.sequence) == (13, 13)
        assert store.check(snapshot=snapshot).intact
        assert store.slot(deployment="never").sequence == 4
        (entry,) = store.audit.entries(action="restored")
        assert entry.details["sequences"] == {"default": 13, "never": 4}


def test_a_backup_says_what_it_holds(backup):
    about = check_backup(backup)
    assert (about.schema, about.rows["versions"], len(about.sha256)) == ("0003", 4, 64)
