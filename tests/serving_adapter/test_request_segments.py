"""The whole way: a gateway under a deployment's key, its log, segments, and what they make."""

import json
from contextlib import closing
from dataclasses import fields

import numpy as np
import pytest

from serving_adapter.facts import FactReader
from serving_adapter.gateway.request_file import RequestFile
from serving_adapter.prompt_blocks import BLOCK_TOKENS, MOST_BLOCKS
from serving_adapter.request_log import RequestOutcome, RequestRecord
from telemetry import requests as columns
from telemetry.request_rows import parse_lines
from telemetry.segments import Collector, SegmentWriter, read, timings_of, trace_of

pytest.importorskip("pyarrow", reason="segments need the extra `daemon`")

SECRET = "kanarienvogel "


async def test_a_gateways_log_becomes_segments_a_trace_and_timings(
    serve, stand, new_emulator, tmp_path
):
    parts = {"facts": FactReader(b"k" * 32)}
    gate = await stand(await serve(new_emulator().application()), parts=parts)
    opening = SECRET * 100
    sent = [(opening, 4, "s1"), ("short", 2, None), (opening + "and more of it " * 50, 6, "s1"),
            (opening + SECRET, 3, "s2")]  # fmt: skip
    for prompt, output, session in sent:
        body = {"model": "tiny", "prompt": prompt, "max_tokens": output, "stream": True,
                "user": SECRET, "stream_options": {"include_usage": True}}  # fmt: skip
        headers = {"X-Session-Id": session} if session else {}
        async with gate.client.post(
            gate.url + "/v1/completions", json=body, headers=headers
        ) as answer:
            await answer.read()
    log, folder = tmp_path / "requests.jsonl", tmp_path / "segments"
    with closing(RequestFile(log)) as file:
        for record in await gate.recorded(len(sent)):
            file(record)
    with SegmentWriter(folder) as writer, closing(Collector(writer, [log])) as collector:
        assert collector.poll() == len(sent)
    requests = read(folder)
    assert requests.max_output_tokens.tolist() == [output for _, output, _ in sent]
    assert requests.turn.tolist() == [0, 0, 1, 0]
    assert requests.usage.all()
    assert np.all(requests.waited_s <= requests.ttft_s)
    assert np.all(requests.ttft_s <= requests.last_token_s)
    assert np.all(requests.last_token_s <= requests.e2e_s)
    trace = trace_of(requests)
    assert trace.session.tolist() == [0, -1, 0, 1]
    assert trace.turn.tolist() == [0, 0, 1, 0]
    rows = [trace.block_ids[a:b].tolist() for a, b in
            zip(trace.block_offsets, trace.block_offsets[1:], strict=False)]  # fmt: skip
    assert len(rows[0]) == len(opening) // 4 // BLOCK_TOKENS
    assert rows[2][: len(rows[0])] == rows[0] == rows[3][: len(rows[0])]
    assert rows[1] == []
    assert timings_of(requests).trace.output_tokens.tolist() == [4, 2, 6, 3]
    for path in (log, *folder.iterdir()):
        assert SECRET.strip().encode() not in path.read_bytes()


def test_what_the_log_says_is_what_segments_keep():
    said = {field.name for field in fields(RequestRecord)}
    assert set(columns.COLUMNS) - said == {"class_id", "preempted"}  # which no gateway knows yet
    assert said - set(columns.COLUMNS) == {"arm", "compared", "decision", "blocks"}
    assert tuple(RequestOutcome) == columns.OUTCOMES
    assert MOST_BLOCKS <= columns.MOST_BLOCKS


def test_the_largest_numbers_of_a_record_are_taken():
    line = {"arrived_unix_s": 1.5, "prompt_tokens": 2**31 - 1, "output_tokens": 0,
            "max_output_tokens": 2**31, "tenant": 2**62, "session": 2**62}  # fmt: skip
    parsed = parse_lines([json.dumps(line)])
    assert (parsed.flaws, parsed.requests.max_output_tokens[0]) == ((), 2**31)
