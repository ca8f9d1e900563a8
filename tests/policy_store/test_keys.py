"""Keys on disk: private ones stay private, trusted ones are what they say."""

import json
import os

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from policy_store.errors import KeyExposed, KeyMissing, KeyUnusable, TrustUnusable
from policy_store.keys import (
    PublicKey,
    TrustedKeys,
    keys_text,
    load_signing_key,
    new_signing_key,
    read_trusted,
    write_trusted,
)


def test_a_key_survives_its_file_and_only_its_owner_reads_it(tmp_path):
    made = new_signing_key(tmp_path / "keys", "ada")
    assert load_signing_key(tmp_path / "keys", "ada") == made
    assert (tmp_path / "keys" / "signing.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_the_secret_is_in_no_repr(tmp_path):
    key = new_signing_key(tmp_path, "ada")
    assert repr(key) == f"SigningKey(public={key.public!r})"


def test_an_old_key_is_put_aside(tmp_path):
    old, new = new_signing_key(tmp_path), new_signing_key(tmp_path)
    assert old.public.id != new.public.id
    assert load_signing_key(tmp_path) == new
    (tmp_path / "signing-1.pem").replace(tmp_path / "signing.pem")
    assert load_signing_key(tmp_path) == old


def test_no_key_says_how_to_make_one(tmp_path):
    with pytest.raises(KeyMissing, match="evolver keys new"):
        load_signing_key(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_may_read_is_refused(tmp_path, mode):
    new_signing_key(tmp_path)
    os.chmod(tmp_path / "signing.pem", mode)
    with pytest.raises(KeyExposed, match="chmod 600"):
        load_signing_key(tmp_path)


def other_kind():
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("text", [other_kind(), b"no key"])
def test_what_is_no_ed25519_key_is_refused(tmp_path, text):
    (tmp_path / "signing.pem").write_bytes(text)
    os.chmod(tmp_path / "signing.pem", 0o600)
    with pytest.raises(KeyUnusable, match="no Ed25519 key"):
        load_signing_key(tmp_path)


def test_a_trust_file_holds_several_and_a_folder_holds_several_files(tmp_path):
    keys = [PublicKey(bytes([number] * 32), f"owner {number}") for number in range(3)]
    (tmp_path / "trust").mkdir()
    write_trusted(tmp_path / "trust" / "a.json", TrustedKeys((keys[0], keys[1])))
    (tmp_path / "trust" / "b.json").write_text(keys_text([keys[2]]))
    assert set(read_trusted(tmp_path / "trust" / "a.json").keys) == set(keys[:2])
    assert set(read_trusted(tmp_path / "trust").keys) == set(keys)


def test_nothing_there_trusts_nobody(tmp_path):
    assert read_trusted(tmp_path / "none.json") == TrustedKeys()


def test_a_key_is_trusted_once_and_can_be_taken_out():
    key, renamed = PublicKey(b"k" * 32, "ada"), PublicKey(b"k" * 32, "grace")
    trusted = TrustedKeys((key,)).with_key(renamed)
    assert trusted.keys == (renamed,)
    assert trusted.without(key.id) == TrustedKeys()


def entry(**change):
    key = PublicKey(b"k" * 32, "ada")
    return {"id": key.id, "public_key": key.raw.hex(), "owner": "ada", **change}


@pytest.mark.parametrize(
    "body",
    [[], {"schema": 2, "keys": []}, {"schema": 1, "keys": [entry(id="0" * 16)]},
     {"schema": 1, "keys": [entry(public_key="00")]}, {"schema": 1, "keys": [entry(owner=1)]},
     {"schema": 1, "keys": [entry(owner="a\nb")]}, {"schema": 1, "keys": [3]}, {"schema": 1}],
)  # fmt: skip
def test_a_damaged_trust_file_is_refused(tmp_path, body):
    (tmp_path / "trusted_keys.json").write_text(json.dumps(body))
    with pytest.raises(TrustUnusable, match="evolver keys trust"):
        read_trusted(tmp_path / "trusted_keys.json")


def test_a_trust_file_that_everybody_may_write_is_refused(tmp_path):
    write_trusted(tmp_path / "trusted_keys.json", TrustedKeys())
    os.chmod(tmp_path / "trusted_keys.json", 0o666)
    with pytest.raises(TrustUnusable, match="chmod o-w"):
        read_trusted(tmp_path / "trusted_keys.json")
