"""The commands on a store elsewhere than under EVOLVER_HOME."""

import json

import pytest

from evolver.cli import main
from policy_store import read_snapshot
from policy_store.keys import read_trusted


@pytest.fixture
def evolver(tmp_path, monkeypatch, capsys, store_url):
    monkeypatch.setenv("EVOLVER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVOLVER_STORE", store_url)
    monkeypatch.setenv("USER", "ada")

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    return run


def test_from_approval_to_rollback(evolver, evaluated, tmp_path):
    policy, home = evaluated(), tmp_path / "home"
    assert policy[:12] in evolver("policy", "list")
    evolver("policy", "approve", policy, "--note", "good", "--by", "ben")
    evolver("policy", "activate", policy, "--note", "go")
    trusted = read_trusted(home / "trusted_keys.json")
    assert read_snapshot(home / "active.json", trusted).active.digest == policy
    assert policy[:12] in evolver("status")
    evolver("policy", "rollback", "--note", "slow")
    assert read_snapshot(home / "active.json", trusted).active is None
    assert evolver("store", "verify")
    assert not (home / "store.db").exists()


def test_doctor_says_where_the_store_is(evolver, store_url):
    findings = {each["topic"]: each for each in json.loads(evolver("doctor", "-o", "json"))[
        "findings"]}  # fmt: skip
    assert findings["store"]["health"] == "ok"
    assert "postgresql" in findings["store"]["text"] or store_url in findings["store"]["text"]
    assert "EVOLVER_STORE" not in findings
