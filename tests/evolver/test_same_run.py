"""A seed and a model's answers give one run, whoever computes it and however fast."""

import hashlib
import json
from importlib.util import find_spec

import pytest
from fake_endpoint import FakeEndpoint, stream
from mishaps import HUMANS, MishapTask, mishap_pool

from evolver.budget import Limits
from evolver.journal import EventKind, EventList
from evolver.loop import Search, SearchSettings
from evolver.models import ModelSettings, model_proposers
from evolver.recorded_answers import RecordedAnswers

WORDS = ("well", "well", "well", "exit", "nan", "refuse", "unknown", "no fence")
pytestmark = pytest.mark.skipif(find_spec("litellm") is None, reason="needs the llm extra")


class Oracle(FakeEndpoint):
    """Answers by what it is asked alone, some askers sooner than others."""

    def __init__(self):
        super().__init__()

    def answer_to(self, asked):
        drawn = hashlib.sha256(json.dumps(asked["messages"]).encode()).digest()
        word, factor = WORDS[drawn[0] % len(WORDS)], 1.0 + drawn[1] / 128
        fence = "" if word == "no fence" else "```"
        script = stream(f"An idea.\n{fence}python\n{word} {factor:.4f}\n{fence}\n")
        script.steps = (drawn[2] % 8 / 200, *script.steps)
        return script


def run_with(proposers, workers):
    """What happened in a run, without its times."""
    log = EventList()
    with mishap_pool(workers) as pool:
        settings = SearchSettings(seed=3, batch=6, threads=4)
        Search(MishapTask(pool), proposers, HUMANS, Limits(evaluations=16), settings, (log,)).run()
    return [(event.kind, event.generation, event.candidate, event.data) for event in log.events]


def test_live_with_three_workers_and_recorded_with_one_are_the_same_run():
    exchanges = []
    with Oracle() as endpoint:
        settings = [ModelSettings("openai/oracle", endpoint.url, api_key="-")]
        live = run_with(model_proposers(settings, exchanges.append), workers=3)
    recorded = RecordedAnswers(exchanges, live=False)
    again = run_with(model_proposers(settings, recorded=recorded), workers=1)
    assert again == live
    kinds = {kind for kind, *_ in live}
    assert {EventKind.CANDIDATE_DROPPED, EventKind.CANDIDATE_UNUSABLE} <= kinds
