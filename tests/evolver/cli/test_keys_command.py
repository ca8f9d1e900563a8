"""`evolver keys`: made, shown, carried to a host, changed and withdrawn."""

import json
import os

import pytest

from policy_store.keys import load_signing_key, read_trusted


@pytest.fixture
def key_id(evolver):
    return evolver("keys", "new").out.strip()


def test_a_new_key_signs_and_is_trusted_here(evolver, home, key_id):
    assert load_signing_key(home / "keys").public.id == key_id
    document = evolver("keys", "list", "-o", "json").json
    assert document["signing"] == key_id
    assert [(key["id"], key["owner"]) for key in document["trusted"]] == [(key_id, "ada")]
    assert f"{key_id}" in evolver("keys", "list").out


def test_a_key_is_not_replaced_by_accident(evolver, key_id):
    done = evolver("keys", "new")
    assert (done.code, "--replace" in done.err) == (1, True)
    fresh = evolver("keys", "new", "--replace").out.strip()
    trusted = [key["id"] for key in evolver("keys", "list", "-o", "json").json["trusted"]]
    assert trusted == [key_id, fresh]


def test_a_key_is_carried_to_a_host_and_withdrawn(evolver, key_id, tmp_path):
    (tmp_path / "key.json").write_text(evolver("keys", "export").out)
    there = ("--trust", tmp_path / "host.json")
    assert key_id in evolver("keys", "trust", tmp_path / "key.json", *there).out
    assert [key.id for key in read_trusted(tmp_path / "host.json").keys] == [key_id]
    assert evolver("keys", "distrust", key_id, *there).code == 0
    assert "No key is trusted" in evolver("keys", "list", *there).out


def test_the_secret_leaves_no_command(evolver, home, key_id):
    secret = (home / "keys" / "signing.pem").read_text().splitlines()[1]
    for arguments in (("list",), ("list", "-o", "json"), ("export",)):
        assert secret not in evolver("keys", *arguments).out


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [(("export",), 1, "evolver keys new"), (("distrust", "00"), 2, "No key 00"),
     (("trust", "none.json"), 2, "no file")],
)  # fmt: skip
def test_what_is_not_there_is_said(evolver, arguments, code, word):
    done = evolver("keys", *arguments)
    assert (done.code, word in done.err) == (code, True)


def test_what_is_no_key_is_not_trusted(evolver, tmp_path):
    (tmp_path / "key.json").write_text(json.dumps({"schema": 1, "keys": [{"id": "0"}]}))
    assert evolver("keys", "trust", tmp_path / "key.json").code == 1
    assert "No key is trusted" in evolver("keys", "list").out


def test_an_exposed_key_is_wrong_for_doctor(evolver, home, key_id):
    assert f"{key_id} in" in evolver("doctor").out
    os.chmod(home / "keys" / "signing.pem", 0o644)
    done = evolver("doctor")
    assert (done.code, "chmod 600" in done.out) == (1, True)
