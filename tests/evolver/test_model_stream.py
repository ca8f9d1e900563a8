"""What an endpoint sends is believed in nothing, however it is cut into pieces."""

import json
from itertools import pairwise

import pytest
from fake_endpoint import DONE, chunk, counted
from hypothesis import given
from hypothesis import strategies as st

from evolver.model_clients import documents_in
from evolver.model_stream import (
    MAX_TEMPLATE_TOKENS,
    BrokenOff,
    Done,
    EndpointSaid,
    Gathered,
    NoCompletion,
    TimeLimits,
    gather,
)

FIELDS = ["choices", "delta", "message", "content", "refusal", "reasoning", "usage", "error",
          "finish_reason", "prompt_tokens", "completion_tokens", "text", "code"]  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=12,
)
STREAM = (chunk("One, ") + ": wait\n\n" + chunk("two.", "stop") + counted() + DONE).encode()
PATIENT = TimeLimits(30.0, 30.0, 30.0)


@given(st.lists(DOCUMENTS, max_size=4))
def test_no_document_breaks_the_count_or_the_text(documents):
    gathered = Gathered(max_tokens=100, prompt_characters=500)
    for document in documents:
        try:
            gathered.add(document)
        except (NoCompletion, EndpointSaid):
            break
    assert 0 <= gathered.tokens_in <= 500 + MAX_TEMPLATE_TOKENS
    assert 0 <= gathered.tokens_out <= 100
    assert b"\0" not in gathered.text.encode("utf-8")


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_it_does_not_matter_where_the_network_cuts_a_stream(cuts):
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in pairwise(edges)]
    assert [type(d) for d in documents_in(pieces)] == [dict, dict, dict, Done]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_streams_are_told_from_whole_documents_by_how_they_begin(ends):
    whole = json.dumps({"choices": []}, indent=1).replace("\n", ends).encode()
    assert next(iter(documents_in([b" ", whole]))) == {"choices": []}
    event = f"event: x{ends}data: {{}}{ends}{ends}".encode()
    assert list(documents_in([event])) == [{}]


@given(st.binary(max_size=60), st.booleans())
def test_garbage_is_no_completion_or_not_json(garbage, framed):
    body = b"data: " + garbage + b"\n\n" if framed else garbage
    gathered = Gathered(100, 100)
    with pytest.raises((NoCompletion, BrokenOff, EndpointSaid, ValueError)):
        gather(lambda: (d for d in documents_in([body])), gathered, PATIENT, "here")
    assert gathered.text == ""


def test_thoughts_are_counted_and_not_kept():
    gathered = Gathered(100, 100)
    delta = {"content": "Answer.", "reasoning_content": "Let me think."}
    assert gathered.add({"choices": [{"delta": delta}]})
    assert (gathered.text, gathered.characters) == ("Answer.", 20)


def test_text_in_parts_is_joined():
    gathered = Gathered(100, 100)
    parts = [{"type": "text", "text": "a"}, {"type": "thinking"}, {"type": "text", "text": "b"}]
    gathered.add({"choices": [{"message": {"content": parts}}]})
    assert gathered.text == "ab"


def test_an_endpoint_that_ignores_the_limit_in_tokens_is_not_heard_out():
    gathered = Gathered(max_tokens=10, prompt_characters=100)
    pieces = ({"choices": [{"delta": {"content": "x" * 50}}]} for _ in range(10**9))
    gather(lambda: pieces, gathered, PATIENT, "here")
    assert gathered.finish == "length"
    assert len(gathered.text) <= 250
