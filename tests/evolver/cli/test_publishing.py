"""The signed snapshot follows the store, whoever dies in between."""

import itertools
import signal

import pytest
from deciders import PROCESSES, publish_and_die

from evolver.cli.publishing import keys_folder, publish, publish_changes, snapshot_path
from policy_store import Origin, PolicyStore, read_snapshot, write_snapshot
from policy_store.errors import SnapshotStale
from policy_store.keys import TrustedKeys, new_signing_key


@pytest.fixture
def key(home):
    return new_signing_key(keys_folder(home), "ada")


@pytest.fixture
def url(tmp_path):
    return str(tmp_path / "store.db")


@pytest.fixture
def store(url):
    with PolicyStore.open(url) as opened:
        yield opened


@pytest.fixture
def live(store):
    """A policy that was made active, and nobody told the hosts."""
    source = "def route(request, instances, memory):\n    return 0\n"
    digest = store.propose(
        source, name="p", origin=Origin.LLM, author="m", contract_version=1
    ).digest
    store.record_verified(digest, by="verifier")
    store.attach_evidence(digest, {"gain": 0.1}, by="simulator")
    store.approve(digest, by="ada", note="good")
    store.activate(digest, 0, by="ada", note="go")
    return digest


def test_what_was_never_told_is_told_once(store, home, key, live):
    assert publish_changes(store, home, key).digest == live
    before = snapshot_path(home).read_bytes()
    assert publish_changes(store, home, key) is None
    assert snapshot_path(home).read_bytes() == before


def test_where_nothing_was_ever_active_there_is_nothing_to_tell(store, home, key):
    assert publish_changes(store, home, key) is None
    assert not snapshot_path(home).exists()


def test_a_term_that_somebody_chose_stays(store, home, key, live):
    chosen = publish(store, home, key, days=5)
    assert publish_changes(store, home, key) is None
    assert read_snapshot(snapshot_path(home), TrustedKeys((key.public,))) == chosen


@pytest.mark.parametrize("content", [b"", b"{", b"of another key"])
def test_a_file_that_is_not_ours_is_replaced(store, home, key, live, tmp_path, content):
    snapshot_path(home).write_bytes(content)
    if content == b"of another key":
        snapshot_path(home).unlink()
        write_snapshot(snapshot_path(home), store.snapshot(), new_signing_key(tmp_path, "eve"))
    assert publish_changes(store, home, key).signature.key == key.public.id


def test_a_store_that_is_behind_its_file_is_said_to_be(store, home, key, live, tmp_path):
    publish(store, home, key)
    with PolicyStore.open(tmp_path / "older.db") as older, pytest.raises(SnapshotStale):
        publish_changes(older, home, key)


def test_who_publishes_late_publishes_what_is_live_then(store, home, key, live, monkeypatch):
    read = store.snapshot
    early = read()
    store.rollback(by="ben", note="slow")
    publish(store, home, key)
    answers = iter([early])
    monkeypatch.setattr(store, "snapshot", lambda *given: next(answers, None) or read(*given))
    assert publish(store, home, key).sequence == 2


def test_kill_9_between_decision_and_file_is_mended_by_the_next_start(store, url, home, key, live):
    publish(store, home, key)
    trusted = TrustedKeys((key.public,))
    for step in itertools.count(1):
        told, before = (read_snapshot(snapshot_path(home), trusted).sequence, store.slot().sequence)
        assert told == before
        child = PROCESSES.Process(target=publish_and_die, args=(url, home, step))
        child.start()
        child.join()
        assert store.slot().sequence == before + 1
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        assert read_snapshot(snapshot_path(home), trusted).sequence in (told, told + 1)
        publish_changes(store, home, key)
        assert publish_changes(store, home, key) is None
    assert step > 4
