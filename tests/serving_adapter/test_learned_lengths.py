"""What was learned of lengths goes on after a restart, and no file of any kind stops a start."""

import json
import zlib

import pytest

from serving_adapter.facts import FactReader
from serving_adapter.learned_lengths import MOST_BYTES, NAME, keep, learned_lengths, recalled

KEY = b"k" * 32
ASKED = {"prompt": "x" * 400, "user": "ada"}


def predicted(folder):
    with learned_lengths(folder) as lengths:
        return FactReader(KEY, lengths).read(ASKED, {}, 0.0).predicted_output_tokens


def test_a_restarted_door_predicts_what_the_one_before_had_learned(tmp_path):
    folder = tmp_path / "state"
    with learned_lengths(folder) as lengths:
        reader = FactReader(KEY, lengths)
        for tokens in (300, 310, 320):
            reader.ended(reader.read(ASKED, {}, 0.0), 0, tokens)
        expected = reader.read(ASKED, {}, 0.0).predicted_output_tokens
    assert predicted(folder) == pytest.approx(expected)
    assert [one.name for one in folder.iterdir()] == [NAME]
    assert (folder / NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", zlib.compress(b"{}"), zlib.compress(b"[" * 100_000), zlib.compress(b"\xff"),
        zlib.compress(json.dumps({"schema": 99}).encode()), zlib.compress(b" " * (MOST_BYTES + 1)),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_said_and_left(tmp_path, content, caplog):
    (tmp_path / NAME).write_bytes(content)
    assert recalled(tmp_path / NAME).predict(1, 0, 10) is None
    assert "learned anew" in caplog.text


def test_a_folder_that_takes_nothing_is_said(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    keep(tmp_path / "file" / NAME, recalled(tmp_path / NAME))
    assert "not kept" in caplog.text
