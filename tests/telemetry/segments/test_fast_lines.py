"""The quick reader of lines says what the careful one says, of every block."""

import json
from dataclasses import fields

import numpy as np
import pytest

from telemetry.request_rows import base64_of, parse_lines
from telemetry.segments import fast_lines
from telemetry.segments.fast_lines import parse_block


def same(one, other):
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)]
    return all(
        np.array_equal(a, b, equal_nan=True) if isinstance(a, np.ndarray) else a == b
        for a, b in pairs
    )


@pytest.fixture
def only_fast(monkeypatch):
    def refuse(_):
        raise AssertionError("the block was looked at line by line")

    monkeypatch.setattr(fast_lines, "parse_lines", refuse)


def test_lines_as_gateways_write_them_are_read_at_once_and_the_same(lines, only_fast):
    hashes = base64_of([bytes([k] * 8) for k in range(250)])
    text = (
        lines(range(3)) + lines([3], blocks=hashes, block_tokens=64, digest="", ttft_s=None)
        + lines([4], endpoint="models") + lines([5], outcome="broken", online=False, new_field=1.5)
        + lines([6], digest="ab" * 32, e2e_s=2, weight=None, tenant=2**62)
        + json.dumps({"arrived_unix_s": 3, "prompt_tokens": 1, "output_tokens": 0}) + "\n"
    )  # fmt: skip
    fast, careful = parse_block(text.encode()), parse_lines(text.split("\n"))
    assert same(fast.requests, careful.requests)
    assert (fast.flaws, fast.other) == (careful.flaws, careful.other) == ((), 1)
    assert len(fast.requests) == 7


@pytest.mark.parametrize("odd", [
    "", "{", "x", "[1]", "null", '{"arrived_unix_s": 1}', "[" * 100_000, '{"a":' * 50_000,
    '{"arrived_unix_s": 1, "prompt_tokens": 1, "output_tokens": 1} {}',
    '{"arrived_unix_s": 1, "prompt_tokens": 1, "output_tokens": 1}}{',
    '{"arrived_unix_s": 1, "prompt_tokens": 1.0, "output_tokens": 1}',
    '{"arrived_unix_s": 1, "prompt_tokens": 4294967297, "output_tokens": 1}',
    '{"arrived_unix_s": 1, "prompt_tokens": 1e3, "output_tokens": true}',
    '{"arrived_unix_s": NaN, "prompt_tokens": 1, "output_tokens": 1}',
    '{"arrived_unix_s": 1, "prompt_tokens": 1, "output_tokens": 1, "ttft_s": -1}',
    '{"arrived_unix_s": 1, "prompt_tokens": 1, "output_tokens": 1, "ttft_s": 1e999}',
    '{"arrived_unix_s": 1, "prompt_tokens": 1, "output_tokens": 1, "status": 65736}',
    '{"arrived_unix_s": 1, "prompt_tokens": 1, "output_tokens": 1, "outcome": "odd"}',
    '{"arrived_unix_s": 1, "prompt_tokens": 1, "output_tokens": 1, "digest": "text"}',
    '{"arrived_unix_s": 1, "prompt_tokens": 1, "output_tokens": 1, "blocks": "text"}',
    '{"arrived_unix_s": 1, "prompt_tokens": 1, "output_tokens": 1, "session": 9223372036854775808}',
    '{"arrived_unix_s": 1, "prompt_tokens": 1, "prompt_tokens": 2, "output_tokens": 1}',
])  # fmt: skip
def test_of_what_is_odd_both_say_the_same(lines, odd):
    text = lines([0]) + odd + "\n" + lines([1])
    fast, careful = parse_block(text.encode()), parse_lines(text.split("\n"))
    assert same(fast.requests, careful.requests)
    assert (fast.flaws, fast.other) == (careful.flaws, careful.other)
