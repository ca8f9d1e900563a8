"""`evolver store`: what is kept, whether it is as written, backups, and what may go."""

import sqlite3
import stat

import pytest
from recorded_run import record_run

from evolver.cli.policies import open_store, store_path
from policy_store import Origin, PolicyStore


@pytest.fixture
def live(evolver):
    """A policy that was approved by one person and made live by another, and hosts told."""
    with open_store() as store:
        digest = store.propose(
            "def route(request, instances, memory):\n    return 0\n", name="first",
            origin=Origin.LLM, author="m", contract_version=1,
        ).digest  # fmt: skip
        store.record_verified(digest, by="verifier")
        store.attach_evidence(digest, {"gain": 0.07}, by="simulator")
        store.approve(digest, by="bo", note="good")
    assert evolver("policy", "activate", digest, "--note", "live").code == 0
    return digest


def raw(statement):
    connection = sqlite3.connect(store_path(), isolation_level=None)
    connection.execute(statement)
    connection.close()


def test_info_says_where_how_large_and_what_is_in_it(evolver, live):
    document = evolver("store", "info", "-o", "json").json
    assert document["where"].endswith("store.db")
    assert (document["schema_revision"], document["rows"]["versions"]) == ("0003", 1)
    assert document["bytes"] > 4096
    assert document["audit"]["entries"] == 5
    told = "".join(evolver("store", "info").out.split())  # a long path is wrapped
    assert document["where"] in told
    assert document["audit"]["head"] in told


def test_verify_passes_on_what_was_written_and_finds_what_was_not(evolver, live):
    head = evolver("store", "info", "-o", "json").json["audit"]["head"]
    done = evolver("store", "verify", "--head", head)
    assert (done.code, "Everything is as it was written." in done.out) == (0, True)
    raw("UPDATE evidence SET document = '{}'")
    done = evolver("store", "verify", "-o", "json")
    (finding,) = done.json["findings"]
    assert (done.code, done.json["intact"], finding["kind"]) == (1, False, "evidence")
    done = evolver("store", "verify", "--head", "f" * 64)
    assert (done.code, "2 things are not as written." in done.out) == (1, True)
    assert "the log was rewritten" in done.out


def test_verify_looks_at_what_hosts_read(evolver, live, home):
    (home / "active.json").unlink()
    assert "There is no such file" in evolver("store", "verify").out
    assert evolver("policy", "publish").code == 0
    assert evolver("store", "verify").code == 0
    (home / "active.json").chmod(0o600)
    (home / "active.json").write_text("{}")
    assert "unusable" in evolver("store", "verify").out


def test_a_backup_is_restored_where_nothing_is_and_hosts_follow(evolver, live, home, tmp_path):
    path = tmp_path / "store.evb"
    done = evolver("store", "backup", path)
    assert (done.code, stat.S_IMODE(path.stat().st_mode)) == (0, 0o600)
    assert evolver("store", "backup", path).code == 2
    assert evolver("policy", "rollback", "--note", "slow").code == 0
    refused = evolver("store", "restore", path)
    assert (refused.code, "not empty" in refused.err) == (1, True)
    store_path().rename(tmp_path / "old.db")
    assert evolver("store", "restore", path, "--note", "disk lost").code == 0
    assert "only come to" not in evolver("store", "verify").out
    assert evolver("policy", "publish").code == 0
    assert evolver("store", "verify").code == 0
    with open_store() as store:
        assert (store.slot().digest, store.slot().sequence) == (live, 3)


def test_a_store_may_be_elsewhere(evolver, live, tmp_path, monkeypatch):
    path = tmp_path / "store.evb"
    assert evolver("store", "backup", path).code == 0
    monkeypatch.setenv("EVOLVER_STORE", f"sqlite:///{tmp_path}/other.db")
    assert evolver("store", "restore", path).code == 0
    assert live[:12] in evolver("policy", "list").out
    with PolicyStore.open(tmp_path / "other.db") as store:
        assert store.audit.entries(action="restored")[0].actor == "ada"


@pytest.mark.parametrize("content", [b"music", b"\x1f\x8b\x08"])
def test_what_is_no_backup_is_refused_in_one_sentence(evolver, tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    done = evolver("store", "restore", tmp_path / "file")
    assert (done.code, done.err.count("error:")) == (1, 1)
    assert not store_path().exists()


def test_prune_says_what_would_go_and_removes_it_only_when_told_why(evolver, home):
    with open_store() as store:
        store.propose("old", name="old", origin=Origin.LLM, author="m", contract_version=1)
    raw("UPDATE versions SET created_at = '2020-01-01 00:00:00.000000'")
    for trigger in ("audit_no_update", "audit_no_delete"):
        raw(f"DROP TRIGGER {trigger}")
    raw("UPDATE audit SET at = '2020-01-01T00:00:00.000000+00:00'")
    done = evolver("store", "prune")
    assert "Nothing was removed; this would go" in done.out
    assert "evolver store prune --days 90 --yes" in done.err
    assert evolver("store", "prune", "--yes").code == 2
    assert evolver("store", "prune", "-o", "json").json["rows"]["versions"] == 1
    done = evolver("store", "prune", "--yes", "--note", "quarterly", "-o", "json").json
    assert (done["done"], done["rows"]["versions"], done["rows"]["sources"]) == (True, 1, 1)
    assert "Nothing that may go" in evolver("store", "prune").out


def test_a_pruned_run_says_that_its_details_are_gone(evolver, home, bowls, lines, humans):
    with open_store() as store:
        run = record_run(store, bowls(), [lines], humans)
    before = evolver("run", "list", "-o", "json").json["runs"][0]
    raw("UPDATE runs SET finished_at = '2020-01-01 00:00:00.000000'")
    assert evolver("store", "prune", "--yes", "--note", "quarterly").code == 0
    shown = evolver("run", "show", run)
    assert (shown.code, "Its details were removed on" in shown.out) == (0, True)
    after = evolver("run", "list", "-o", "json").json["runs"][0]
    assert after.pop("pruned_at") is not None
    assert {**before, **after} == {**before, "finished_at": after["finished_at"]}
    assert evolver("run", "show", run, "-o", "html", "--out", home / "run.html").code == 0
    assert evolver("run", "compare", run, run).code == 0


def test_downgrade_needs_a_yes_and_a_reason_and_upgrade_brings_it_back(evolver, live):
    refused = evolver("store", "downgrade", "0001")
    assert (refused.code, "add --yes" in refused.err) == (1, True)
    assert evolver("store", "downgrade", "0003", "--yes", "--note", "no").code == 2
    assert evolver("store", "downgrade", "0001", "--yes", "--note", "older").code == 0
    assert "schema 0001 -> 0003" in evolver("store", "upgrade").out
    assert "schema 0003 already" in evolver("store", "upgrade").out
    assert evolver("store", "verify").code == 0
    with open_store() as store:
        (entry,) = store.audit.entries(action="downgraded")
        assert dict(entry.details) == {"from": "0003", "to": "0001"}


def test_a_hash_that_is_none_is_misuse(evolver):
    assert evolver("store", "verify", "--head", "xyz").code == 2
