"""The demo's recorded answers: whole, by name and date, and not older than the prompts."""

import re

import pytest

from evolver.cli.demo_model import RECORD_ANEW, RECORDING, ModelAct, opening
from evolver.cli.demo_scene import Scale
from evolver.errors import RecordStale
from evolver.model_settings import ModelSettings
from evolver.recordings import read_recording
from evolver.reply import policy_in
from sandbox.verifier import verify


def test_the_recorded_answers_are_to_the_prompts_of_today():
    stale = read_recording(RECORDING).stale
    assert not stale, f"The prompts changed after the demo was recorded: run `{RECORD_ANEW}`."


def test_a_recorded_policy_is_a_policy():
    exchanges = [one for one in read_recording(RECORDING).exchanges if not one.error]
    whole = [one for one in exchanges if one.move in ("rewrite", "crossover")]
    assert len(whole) >= 8
    assert all(verify(policy_in(exchange.reply)).hooks for exchange in whole)


def test_a_recording_is_labelled_with_model_and_date():
    said = "\n".join(str(block) for block in opening(ModelAct().writers(), Scale()).blocks)
    assert re.search(r"openai/\S+ gave them on\s+20\d\d-\d\d-\d\d", said)
    assert "have changed since" not in said


def test_a_model_that_is_asked_now_takes_its_place():
    writers = ModelAct(ModelSettings("openai/mine", "http://127.0.0.1:1/v1")).writers()
    assert writers.recording is None
    assert not writers.mutator
    assert "asked as you watch" in str(opening(writers, Scale()).blocks)


def test_without_a_recording_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr("evolver.cli.demo_model.RECORDING", tmp_path / "none.json")
    with pytest.raises(RecordStale, match="cannot be read"):
        ModelAct().writers()
