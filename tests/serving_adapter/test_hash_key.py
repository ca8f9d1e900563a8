"""One key a deployment: made once, for its owner alone, and never guessed at."""

import logging
import stat

import pytest

from serving_adapter.errors import AdapterError
from serving_adapter.hash_key import hash_key, known_key


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path):
    path = tmp_path / "state" / "hash.key"
    assert hash_key(path) == hash_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["hash.key"]
    assert hash_key(path) != hash_key(tmp_path / "other.key")


def test_a_copy_is_the_same_key_whoever_can_read_it(tmp_path, caplog):
    key = hash_key(tmp_path / "a")
    copy = tmp_path / "b"
    copy.write_text((tmp_path / "a").read_text() + "\n")
    copy.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        assert hash_key(copy) == key
    assert "others can read" in caplog.text
    assert key.hex() not in caplog.text


@pytest.mark.parametrize("text", ["", "no key", "ab" * 8, "\xff"])
def test_what_is_no_key_is_refused(tmp_path, text):
    path = tmp_path / "hash.key"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AdapterError, match="hexadecimal"):
        hash_key(path)


def test_a_key_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AdapterError, match="name another file"):
        hash_key(tmp_path / "file" / "hash.key")


def test_doors_that_make_no_key_take_the_one_that_is_there(tmp_path):
    assert known_key(None) is None
    assert known_key(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    made = hash_key(tmp_path / "hash.key")
    assert known_key(tmp_path) == made
