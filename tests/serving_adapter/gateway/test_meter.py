"""Counting tokens of answers that arrive in arbitrary pieces."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_adapter.gateway.meter import AnswerMeter

CHUNK = b'data: {"choices":[{"text":"a"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"


@given(cuts=st.lists(st.integers(0, 200), max_size=6))
def test_where_the_stream_is_cut_does_not_matter(cuts):
    stream = CHUNK * 3 + USAGE + DONE
    meter = AnswerMeter(streamed=True)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    seen = sum(meter.feed(stream[a:b]) for a, b in itertools.pairwise(edges))
    meter.close()
    assert (seen, meter.output_tokens, meter.prompt_tokens, meter.from_usage) == (3, 2, 9, True)


def test_without_usage_events_are_counted():
    meter = AnswerMeter(streamed=True)
    meter.feed(b": comment\n\n" + CHUNK * 4 + DONE)
    meter.close()
    assert (meter.output_tokens, meter.from_usage) == (4, False)


def test_an_answer_in_one_piece_counts_by_its_usage():
    meter = AnswerMeter(streamed=False)
    meter.feed(json.dumps({"usage": {"completion_tokens": 5, "prompt_tokens": 3}}).encode())
    assert (meter.close(), meter.output_tokens) == (5, 5)


@pytest.mark.parametrize(
    "usage",
    [
        b"null",
        b'"x"',
        b'{"completion_tokens":"9"}',
        b'{"completion_tokens":-1}',
        b'{"completion_tokens":1' + b"0" * 400 + b"}",
        b'{"completion_tokens":1,"prompt_tokens":9223372036854775808}',
    ],
)
def test_a_nonsense_usage_is_not_believed(usage):
    meter = AnswerMeter(streamed=False)
    meter.feed(b'{"usage":' + usage + b"}")
    meter.close()
    assert not meter.from_usage


def test_nothing_of_the_answer_is_held_after_the_end():
    meter = AnswerMeter(streamed=True)
    meter.feed(b"data: secret")
    meter.close()
    assert "secret" not in repr(meter)
