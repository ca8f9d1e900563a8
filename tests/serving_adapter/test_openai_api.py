"""The declared token rule and the refusal of bodies that are none."""

import json

import pytest

from serving_adapter.errors import BadBody
from serving_adapter.openai_api import (
    count_of,
    estimate_prompt_tokens,
    max_output_tokens,
    read_body,
)


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"prompt": [5, 6, 7]}, 3),
        ({"prompt": "x" * 9}, 3),
        ({"prompt": ["xxxx", "xxxx"]}, 2),
        ({"prompt": [[1, 2], [3]]}, 3),
        ({"input": "x" * 8}, 2),
        ({"messages": [{"role": "user", "content": "x" * 8}]}, 6),
        ({"messages": [{"content": [{"type": "text", "text": "xxxx"}, {"type": "image_url"}]}]}, 5),
        ({"messages": ["nonsense", None]}, 8),
        ({}, 1),
    ],
)
def test_prompt_tokens_follow_the_declared_rule(body, tokens):
    assert estimate_prompt_tokens(body) == tokens


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, '{"a": 1}'.encode("utf-16")]
)
def test_what_is_no_json_object_is_refused(raw):
    with pytest.raises(BadBody):
        read_body(raw)


@pytest.mark.parametrize("value", [-1, 1.5, "7", True, 2**40])
def test_a_count_is_a_whole_number(value):
    with pytest.raises(BadBody, match="max_tokens"):
        count_of({"max_tokens": value}, "max_tokens")


def test_the_newer_name_of_the_limit_wins():
    assert max_output_tokens({"max_tokens": 5, "max_completion_tokens": 7}) == 7


@pytest.mark.parametrize(
    "prompt",
    [b"[" + b"[]," * 100_001, b'{"a":' * 100_001, b"[" + b"1," * 2_000_001],
    ids=["lists", "objects", "ids"],
)
def test_a_body_of_too_many_values_is_refused_before_it_is_read(prompt, monkeypatch):
    monkeypatch.setattr("serving_adapter.openai_api.json", None)
    with pytest.raises(BadBody, match="values"):
        read_body(b'{"prompt":' + prompt + b"}")


def test_signs_in_text_are_no_values():
    text = '[{,"\\' * 200_000
    assert read_body(json.dumps({"prompt": text}).encode()) == {"prompt": text}
    ids = [1] * 1_000_000
    assert estimate_prompt_tokens(read_body(json.dumps({"prompt": ids}).encode())) == len(ids)
