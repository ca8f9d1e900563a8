"""What a gateway knows of a request: numbers, sessions, predicted lengths."""

import math

import pytest

from serving_adapter.errors import BadBody
from serving_adapter.facts import FactReader


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


def test_lengths_are_predicted_from_the_answers_to_the_tenant_within_its_limit():
    reader = FactReader()
    asked = {user: {"prompt": [0] * 40, "user": user} for user in ("ada", "bob")}
    assert math.isnan(reader.read(asked["ada"], {}, 0.0).predicted_output_tokens)
    for n in range(60):
        user = ("ada", "bob")[n % 2]
        reader.ended(reader.read(asked[user], {}, 0.0), 0, 20 + 400 * (n % 2))
    ada, bob = (reader.read(asked[user], {}, 1.0) for user in ("ada", "bob"))
    assert ada.predicted_output_tokens < 80 < 300 < bob.predicted_output_tokens
    assert ada.predicted_output_error > 0
    limited = reader.read({**asked["bob"], "max_tokens": 50}, {}, 1.0)
    assert limited.predicted_output_tokens == 50


def test_a_prompt_nested_too_deeply_is_refused():
    prompt = []
    for _ in range(900):
        prompt = [prompt]
    with pytest.raises(BadBody, match="nested too deeply"):
        FactReader().read({"prompt": prompt}, {}, 0.0)


def test_answers_that_nobody_counted_say_nothing_of_lengths():
    reader = FactReader()
    for _ in range(5):
        reader.ended(reader.read({"prompt": "x"}, {}, 0.0), 0, 0)
    assert math.isnan(reader.read({"prompt": "x"}, {}, 0.0).predicted_output_tokens)


def test_prompts_are_not_hashed_where_nobody_keeps_that():
    body = {"prompt": "word " * 200, "user": "ada"}
    told, silent = FactReader(b"k" * 32), FactReader(b"k" * 32, hash_prompts=False)
    facts = silent.read(body, {}, 0.0)
    assert (facts.block_hashes, facts.tenant) == ("", told.read(body, {}, 0.0).tenant)
