"""What other simulators are handed, and what a run of one is said to cost."""

import json
import sys

import numpy as np
import peer_environments
import peer_runs
import peer_traces
import pytest

from telemetry.blocks import Blocks
from telemetry.readers import read_trace
from telemetry.trace import Trace, TraceMeta


def trace_of(prompts, block_tokens=0, blocks=None):
    n = len(prompts)
    return Trace.of(
        TraceMeta(),
        arrival_s=np.arange(n) * 0.25,
        prompt_tokens=prompts,
        output_tokens=np.full(n, 7),
        blocks=Blocks.of_lists(blocks, block_tokens) if blocks else None,
    )


def test_prompts_without_blocks_share_nothing():
    rows = peer_traces.mooncake_rows(trace_of([1, 512, 513]))
    assert [len(row["hash_ids"]) for row in rows] == [1, 1, 2]
    ids = [i for row in rows for i in row["hash_ids"]]
    assert len(set(ids)) == len(ids)


def test_recorded_blocks_are_kept_and_filled_up_to_the_prompt():
    trace = trace_of([1100, 1100], 512, [[0, 1, 2], [0, 1]])
    rows = peer_traces.mooncake_rows(trace)
    assert rows[0]["hash_ids"][:2] == rows[1]["hash_ids"][:2]
    assert rows[1]["hash_ids"][2] not in rows[0]["hash_ids"]


def test_our_reader_gets_back_what_was_written(tmp_path):
    trace = trace_of([600, 700, 800])
    peer_traces.write_mooncake(trace, tmp_path / "trace.jsonl")
    back = read_trace(tmp_path / "trace.jsonl", format="mooncake")
    assert np.allclose(np.diff(back.arrival_s), np.diff(trace.arrival_s))
    assert back.prompt_tokens.tolist() == [600, 700, 800]


def test_requests_that_a_peer_would_refuse_are_left_out():
    kept = peer_traces.first_that_fit(trace_of([100, 9000, 200, 300]), 2, 1000)
    assert kept.prompt_tokens.tolist() == [100, 200]


def test_tables_say_what_the_profile_says():
    from sandbox.profiles import load_profile

    profile = load_profile("H100", "Llama-3.1-8B", 1)
    tables = peer_traces.step_tables(profile, 2048, 400_000)
    row, column = 120, 90
    context, mean = tables["decode_active_kv_tokens"][row], tables["decode_context_length"][column]
    expected = profile.step_ps([], max(round(context / mean), 1), int(context)) / 1e9
    assert tables["decode_itl"][row, column] == pytest.approx(expected, rel=0.03)
    assert tables["prefill_ttft_ms"][-1] == profile.step_ps([(2048, 0)], 0, 0) / 1e9


def test_a_child_that_fails_is_one_sentence(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no luck')"]
    with pytest.raises(peer_environments.PeerUnavailable, match="no luck"):
        peer_environments.run_measured(command, tmp_path)


def test_a_child_is_charged_for_itself_alone(tmp_path):
    cost, printed = peer_environments.run_measured([sys.executable, "-c", "print('{}')"], tmp_path)
    assert json.loads(printed) == {}
    assert cost.cpu_s > 0
    assert cost.rss_mib > 1


def test_a_package_that_is_nowhere_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(
        peer_environments, "_install_commands", lambda *_: [["/nonexistent/python"]]
    )
    with pytest.raises(peer_environments.PeerUnavailable, match="could not be installed"):
        peer_environments.environment(peer_environments.DYNAMO, tmp_path)


def test_vidur_means_come_from_its_newest_table(tmp_path):
    (tmp_path / "request_metrics.csv").write_text(
        "prefill_e2e_time,request_e2e_time,request_num_decode_tokens\n0.5,2.5,11\n1.5,2.5,11\n"
    )
    found = peer_runs.vidur_found(tmp_path)
    assert found["ttft_s"] == 1.0
    assert found["tpot_s"] == pytest.approx(0.15)
