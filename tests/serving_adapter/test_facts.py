"""What a gateway knows of a request: numbers, sessions, predicted lengths."""

import math

import pytest

from serving_adapter.errors import BadBody
from serving_adapter.facts import FactReader, LengthPredictor


def test_facts_are_numbers_only():
    body = {"prompt": "hello", "user": "ada", "max_tokens": 7, "stream": True}
    facts = FactReader().read(body, {"x-session-id": "s-1"}, 1.0)
    names = set(facts.__slots__) - {"block_hashes"}
    assert all(isinstance(getattr(facts, name), int | float) for name in names)
    assert (facts.prompt_tokens, facts.max_output_tokens, facts.stream) == (2, 7, True)


def test_a_session_remembers_where_its_last_call_went():
    reader = FactReader()
    headers = {"x-session-id": "s-1"}
    first = reader.read({"prompt": [0] * 10}, headers, 0.0)
    reader.ended(first, instance_id=4, output_tokens=5)
    second = reader.read({"prompt": [0] * 30}, headers, 1.0)
    assert (second.turn, second.last_instance, second.cached_tokens) == (1, 4, 15)


def test_names_are_keyed_so_that_two_processes_disagree():
    numbers = {FactReader().read({"user": "ada"}, {}, 0.0).tenant for _ in range(3)}
    assert len(numbers) == 3


def test_under_a_deployments_key_two_processes_agree_and_prompts_are_hashed():
    body = {"prompt": "word " * 200, "user": "ada"}
    one, other = (FactReader(b"k" * 32).read(body, {"x-session-id": "s"}, 0.0) for _ in range(2))
    assert one == other
    assert one.block_hashes
    assert FactReader().read(body, {}, 0.0).block_hashes == ""


def test_a_malformed_limit_is_refused():
    with pytest.raises(BadBody):
        FactReader().read({"prompt": "x", "max_tokens": "many"}, {}, 0.0)


def test_prediction_is_missing_until_answers_were_seen_then_their_mean():
    lengths = LengthPredictor()
    assert math.isnan(lengths.predict(-1)[0])
    for tokens in (10, 20, 30):
        lengths.learn(tokens)
    predicted, error = lengths.predict(-1)
    assert (predicted, error > 0) == (20.0, True)
    assert lengths.predict(5)[0] == 5.0


def test_a_prompt_nested_too_deeply_is_refused():
    prompt = []
    for _ in range(900):
        prompt = [prompt]
    with pytest.raises(BadBody, match="nested too deeply"):
        FactReader().read({"prompt": prompt}, {}, 0.0)
