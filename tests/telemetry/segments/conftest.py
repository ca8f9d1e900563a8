"""Requests by the handful, for folders of segments."""

import json

import pytest

from telemetry.request_rows import parse_rows

pytest.importorskip("pyarrow", reason="segments need the extra `daemon`")

BEGAN = 1_700_000_000.0


def row(number, **fields):
    """One row of a log; `number` is its prompt's length, its second and its session."""
    usual = {
        "arrived_unix_s": BEGAN + number, "endpoint": "chat", "outcome": "ok", "status": 200,
        "stream": True, "usage": True, "prompt_tokens": number + 1, "output_tokens": 10,
        "tenant": 5, "session": number, "turn": 0, "attempts": 1, "instance_id": 3,
        "sequence": 7, "digest": "d" * 64, "waited_s": 0.1, "ttft_s": 0.2, "last_token_s": 0.9,
        "e2e_s": 1.0,
    }  # fmt: skip
    return usual | fields


@pytest.fixture
def made():
    """Requests with these numbers."""

    def make(numbers, **fields):
        parsed = parse_rows([row(number, **fields) for number in numbers])
        assert not parsed.flaws
        return parsed.requests

    return make


@pytest.fixture
def lines():
    """Lines of a log with these numbers."""

    def make(numbers, **fields):
        return "".join(json.dumps(row(number, **fields)) + "\n" for number in numbers)

    return make
