"""What other simulators are handed, and what a run of one is said to cost."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from telemetry.blocks import Blocks
from telemetry.readers import read_trace
from telemetry.trace import Trace, TraceMeta

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if name.startswith(("rank_", "peer")):
            del sys.modules[name]


def trace_of(prompts, block_tokens=0, blocks=None):
    n = len(prompts)
    return Trace.of(
        TraceMeta(),
        arrival_s=np.arange(n) * 0.25,
        prompt_tokens=prompts,
        output_tokens=np.full(n, 7),
        blocks=Blocks.of_lists(blocks, block_tokens) if blocks else None,
    )


def test_prompts_without_blocks_share_nothing(script):
    rows = script("peer_traces").mooncake_rows(trace_of([1, 512, 513]))
    assert [len(row["hash_ids"]) for row in rows] == [1, 1, 2]
    ids = [i for row in rows for i in row["hash_ids"]]
    assert len(set(ids)) == len(ids)


def test_recorded_blocks_are_kept_and_filled_up_to_the_prompt(script):
    trace = trace_of([1100, 1100], 512, [[0, 1, 2], [0, 1]])
    rows = script("peer_traces").mooncake_rows(trace)
    assert rows[0]["hash_ids"][:2] == rows[1]["hash_ids"][:2]
    assert rows[1]["hash_ids"][2] not in rows[0]["hash_ids"]


def test_our_reader_gets_back_what_was_written(script, tmp_path):
    trace = trace_of([600, 700, 800])
    script("peer_traces").write_mooncake(trace, tmp_path / "trace.jsonl")
    back = read_trace(tmp_path / "trace.jsonl", format="mooncake")
    assert np.allclose(np.diff(back.arrival_s), np.diff(trace.arrival_s))
    assert back.prompt_tokens.tolist() == [600, 700, 800]


def test_requests_that_a_peer_would_refuse_are_left_out(script):
    kept = script("peer_traces").first_that_fit(trace_of([100, 9000, 200, 300]), 2, 1000)
    assert kept.prompt_tokens.tolist() == [100, 200]


def test_tables_say_what_the_profile_says(script):
    from sandbox.profiles import load_profile

    profile = load_profile("H100", "Llama-3.1-8B", 1)
    tables = script("peer_traces").step_tables(profile, 2048, 400_000)
    row, column = 120, 90
    context, mean = tables["decode_active_kv_tokens"][row], tables["decode_context_length"][column]
    expected = profile.step_ps([], max(round(context / mean), 1), int(context)) / 1e9
    assert tables["decode_itl"][row, column] == pytest.approx(expected, rel=0.03)
    assert tables["prefill_ttft_ms"][-1] == profile.step_ps([(2048, 0)], 0, 0) / 1e9


def test_a_child_that_fails_is_one_sentence(script, tmp_path):
    environments = script("peer_environments")
    command = [sys.executable, "-c", "raise SystemExit('no luck')"]
    with pytest.raises(environments.PeerUnavailable, match="no luck"):
        environments.run_measured(command, tmp_path)


def test_a_child_is_charged_for_itself_alone(script, tmp_path):
    environments = script("peer_environments")
    cost, printed = environments.run_measured([sys.executable, "-c", "print('{}')"], tmp_path)
    assert json.loads(printed) == {}
    assert cost.cpu_s > 0
    assert cost.rss_mib > 1


def test_a_package_that_is_nowhere_is_one_sentence(script, tmp_path, monkeypatch):
    environments = script("peer_environments")
    monkeypatch.setattr(environments, "_install_commands", lambda *_: [["/nonexistent/python"]])
    with pytest.raises(environments.PeerUnavailable, match="could not be installed"):
        environments.environment(environments.DYNAMO, tmp_path)


def test_vidur_means_come_from_its_newest_table(script, tmp_path):
    (tmp_path / "request_metrics.csv").write_text(
        "prefill_e2e_time,request_e2e_time,request_num_decode_tokens\n0.5,2.5,11\n1.5,2.5,11\n"
    )
    found = script("peer_runs").vidur_found(tmp_path)
    assert found["ttft_s"] == 1.0
    assert found["tpot_s"] == pytest.approx(0.15)
