"""LMCache lines: the text is measured and dropped; law 11, request text never enters telemetry."""

from __future__ import annotations

import json
import pickle

import pytest

from telemetry.errors import RowError
from telemetry.readers import read_trace

CANARY = "the-canary-sings-at-dawn"


def lines(*rows) -> str:
    return "".join(json.dumps({"timestamp": int(t * 1e6), "input": i, "output": o,
                               "session_id": s}) + "\n" for t, i, o, s in rows)


def history(turns: int) -> str:
    return lines(*((at, CANARY * 40 * (at + 1), CANARY, CANARY) for at in range(turns)))


def test_law_11_no_text_survives_anywhere_in_the_trace(pack, tmp_path):
    trace = read_trace(pack("l.tar.gz", {f"{CANARY}/{CANARY}.jsonl": history(3)}))
    trace.save(tmp_path / "t.npz")
    state = [getattr(trace, name) for name in trace.__slots__]
    kept = repr(trace).encode() + pickle.dumps(state) + (tmp_path / "t.npz").read_bytes()
    assert CANARY.encode() not in kept
    assert CANARY[:8].encode() not in kept


def test_law_11_no_text_survives_in_an_error_or_what_it_carries(write):
    bad = history(1) + '{"timestamp": 1, "input": "' + CANARY + '", \n'
    with pytest.raises(RowError) as caught:
        read_trace(write("l.jsonl", bad))
    carried, link = "", caught.value
    while link is not None:
        carried += repr(link) + repr(vars(link)) + str(getattr(link, "doc", ""))
        link = link.__cause__ or link.__context__
    assert CANARY not in carried


def test_unordered_lines_are_sorted_and_said(write):
    trace = read_trace(write("l.jsonl", lines((3, "b" * 80, "x" * 8, "s"), (1, "a" * 8, "", "s"))))
    assert trace.prompt_tokens.tolist() == [2, 20]
    assert any("sorted" in note for note in trace.meta.notes)


def test_a_session_is_a_chain_whose_gap_less_service_is_think_time(write):
    trace = read_trace(write("l.jsonl", lines((0, "a" * 8, "x" * 400, "s"), (3, "b", "y", "s"))),
                       token_s=0.01)
    assert trace.after.tolist() == [-1, 0]
    assert trace.think_s.tolist() == [0.0, pytest.approx(2.0)]


def test_a_growing_history_shares_its_prefix_blocks(write):
    trace = read_trace(write("l.jsonl", history(3)))
    first, second = (trace.blocks.take([at]).ids.tolist() for at in (0, 1))
    assert len(first) > 5
    assert second[: len(first)] == first


def test_the_rule_for_tokens_is_declared_and_chosen(write):
    trace = read_trace(write("l.jsonl", lines((0, "a" * 100, "b" * 50, "s"))), chars_per_token=5.0)
    assert (trace.prompt_tokens[0], trace.output_tokens[0]) == (20, 10)
    assert "characters / 5" in trace.meta.notes[0]
