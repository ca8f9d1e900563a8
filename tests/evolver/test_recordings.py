import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_exchange import exchange

from evolver.errors import RecordStale
from evolver.moves import Move
from evolver.recordings import exchange_of, read_recording, write_recording

FAILED = exchange("", ask="1.1.0", error="RateLimited", said="Wait.", final=False, attempt=2)


def test_a_recording_holds_all_but_the_prompts(tmp_path):
    path, kept = tmp_path / "run.json", (exchange("Policy.", move=Move.DIFF), FAILED)
    write_recording(path, "A run on a trace.", kept)
    found = read_recording(path)
    assert found.exchanges == tuple(replace(one, messages=()) for one in kept)
    assert (found.title, found.models) == ("A run on a trace.", ("openai/strong",))
    assert (found.date, found.stale) == ("2026-03-01", False)
    assert "Improve this." not in path.read_text()


def test_what_the_store_keeps_of_an_exchange_gives_it_back():
    stored = json.loads(json.dumps(asdict(FAILED)))
    assert exchange_of(stored) == FAILED


@pytest.mark.parametrize(
    "wrong", [{"tokens_in": -1}, {"seconds": float("inf")}, {"move": "guess"}, {"reply": 7}]
)
def test_an_exchange_that_was_tampered_with_is_refused(wrong):
    with pytest.raises(RecordStale, match=f"{next(iter(wrong))}.*record it anew"):
        exchange_of(asdict(FAILED) | wrong)


OTHERS = ("", "[]", '{"schema": 2, "title": "", "prompts": "", "exchanges": []}')


@pytest.mark.parametrize("text", OTHERS)
def test_another_file_is_no_recording(tmp_path, text):
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(RecordStale, match="record it anew"):
        read_recording(path)
    with pytest.raises(RecordStale, match="check the path"):
        read_recording(tmp_path / "none.json")


def test_answers_to_other_prompts_are_stale(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    write_recording(path, "", [exchange()])
    monkeypatch.setattr("evolver.recordings.templates_digest", lambda: "of other templates")
    assert read_recording(path).stale


@given(st.text())
def test_any_reply_survives(tmp_path_factory, reply):
    reply = reply.encode("utf-8", "replace").decode()
    path = tmp_path_factory.mktemp("recording") / "run.json"
    write_recording(path, "", [exchange(reply)])
    assert read_recording(path).exchanges[0].reply == reply


def test_a_device_without_end_is_no_recording(monkeypatch):
    monkeypatch.setattr("evolver.recordings.MAX_FILE_BYTES", 1000)
    with pytest.raises(RecordStale, match="too large"):
        read_recording(Path("/dev/zero"))
