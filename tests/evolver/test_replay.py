"""Law 4 with models: recorded answers give the same run without any model, wherever it was cut."""

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolver.budget import Limits
from evolver.errors import RecordStale
from evolver.journal import EventKind, timeless
from evolver.loop import Search, SearchSettings
from evolver.model_endpoint import ModelEndpoint, ModelSettings
from evolver.model_stream import Done, EndpointSaid
from evolver.models import ModelProposer
from evolver.moves import Move
from evolver.recorded_answers import RecordedAnswers, RecordedEndpoint
from tests.evolver.conftest import Bowls, LineProposer
from tests.evolver.test_resume import HUMANS, Tape

LIMITS = Limits(evaluations=40)


class Moody:
    """A model that never says the same twice: lines, edits, babble, errors, refusals."""

    def __init__(self):
        self._calls = itertools.count()

    def load(self):
        pass

    def stream(self, messages, max_tokens):
        rng = random.Random(next(self._calls))
        mood = rng.randrange(8)
        if mood == 0:
            raise EndpointSaid("overloaded", 503)
        name, value = rng.choice(["ALPHA", "BETA", "GAMMA", "DELTA"]), rng.uniform(0.0, 10.0)
        text = f"```python\nALPHA = {rng.uniform(0.0, 10.0):.2f}\n{name}S = {value:.2f}\n```"
        if mood == 1:
            text = "<<<<<<< SEARCH\nALPHA = 9\n=======\nALPHA = 4\n>>>>>>> REPLACE"
        if mood == 2:
            text = "No idea."
        finish = {3: "content_filter", 4: "length"}.get(mood, "stop")
        yield {"choices": [{"delta": {"content": text}, "finish_reason": finish}]}
        yield Done()


def run(recorded=(), live=False, history=None):
    """What happened, and what was recorded anew."""
    kept, tape = [], Tape()

    def record(exchange):
        kept.append(exchange)
        tape.asked.append(len(tape.log.events))

    tape.asked = []
    clock = itertools.count().__next__
    model = ModelEndpoint(
        ModelSettings("openai/moody", "http://127.0.0.1:9/v1", tries=2), record,
        Moody(), lambda: clock() / 1000, lambda _: None,
    )  # fmt: skip
    endpoint = model
    if recorded:
        answers = RecordedAnswers(recorded, live=live)
        endpoint = RecordedEndpoint(answers, model if live else None, record)
    arms = [ModelProposer(endpoint, "openai/moody", move) for move in Move]
    search = Search(
        Bowls(), [*arms, LineProposer()], HUMANS, LIMITS,
        SearchSettings(seed=1, batch=8, threads=1), [tape.log], history=history, keep=tape.keep,
    )  # fmt: skip
    search.run()
    return tape, kept


TAPE, KEPT = run()


def happened(tape):
    return [timeless(event) for event in tape.log.events]


def test_a_model_in_all_its_moods_is_part_of_a_run():
    kinds = {event.kind for event in TAPE.log.events}
    assert {EventKind.CANDIDATE_UNUSABLE, EventKind.PROPOSER_FAILED} <= kinds
    assert {exchange.move for exchange in KEPT} == set(Move)
    assert {exchange.error for exchange in KEPT} == {None, "EndpointFailing", "ModelDeclined"}
    scored = {event.data["proposer"] for event in TAPE.log.of(EventKind.CANDIDATE_SCORED)}
    assert "openai/moody rewrite" in scored | {
        event.data["proposer"] for event in TAPE.log.of(EventKind.CANDIDATE_DROPPED)
    }


def test_the_record_alone_gives_the_same_run_and_the_same_record():
    again, kept = run(KEPT)
    assert happened(again) == happened(TAPE)
    assert kept == KEPT


@settings(max_examples=10, deadline=None)
@given(st.integers(1, len(TAPE.log.events)))
def test_a_run_cut_anywhere_goes_on_and_its_whole_record_gives_it_again(cut):
    known = [exchange for at, exchange in zip(TAPE.asked, KEPT, strict=True) if at <= cut]
    resumed, new = run(known, live=True, history=TAPE.until(cut))
    assert happened(resumed)[:cut] == happened(TAPE)[:cut]
    assert not {one.ask for one in known if one.final} & {one.ask for one in new}
    again, _ = run([*known, *new])
    assert happened(again) == happened(resumed)


def test_answers_to_other_prompts_end_a_replay():
    other = [replace(one, prompt_digest="0" * 64) for one in KEPT]
    with pytest.raises(RecordStale, match="record the run anew"):
        run(other)
