"""`evolver calibrate`: a file of timings in, a calibration out that replay takes."""

import json

import numpy as np
import pytest

from sandbox.cluster import EngineSpec
from sandbox.one_engine import serve
from sandbox.profiles import load_profile
from telemetry.trace import Trace, TraceMeta


@pytest.fixture(scope="module")
def timings(tmp_path_factory):
    """What an engine like A100 x llama-3.1-8b would have measured, were it slower."""
    draw = np.random.default_rng(1)
    n = 80
    trace = Trace.of(
        TraceMeta(), arrival_s=np.sort(draw.random(n)) * 10,
        prompt_tokens=draw.integers(50, 2000, n), output_tokens=draw.integers(2, 100, n),
    )  # fmt: skip
    profile = load_profile("A100", "llama-3.1-8b", 1).calibrated(step_overhead_ps=3_000_000_000)
    served = serve(profile, trace, EngineSpec())
    rows = [
        {"input_toks": int(p), "output_toks": int(o), "queued_ts": float(a),
         "first_token_ts": float(a + t), "last_token_ts": float(a + e)}
        for p, o, a, t, e in zip(trace.prompt_tokens, trace.output_tokens, trace.arrival_s,
                                 served.ttft_s, served.e2e_s, strict=True)
    ]  # fmt: skip
    path = tmp_path_factory.mktemp("run") / "requests.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    path.with_name("meta.json").write_text('{"model": "org/Llama-3.1-8B", "vllm_version": "1.2"}')
    return path


def test_a_calibration_is_written_and_replay_takes_it(evolver, timings, trace_file, tmp_path):
    out = tmp_path / "mine.json"
    done = evolver("calibrate", timings, "--gpu", "a100", "--out", out)
    assert done.code == 0
    assert "E2E mean" in done.out
    assert json.loads(out.read_text())["engine"] == "vllm 1.2"
    replayed = evolver("replay", trace_file, "-p", "round_robin", "--load", 0.5, "--calibration",
                       out)  # fmt: skip
    assert replayed.code == 0


def test_another_clusters_calibration_is_refused(evolver, timings, trace_file, tmp_path):
    out = tmp_path / "mine.json"
    evolver("calibrate", timings, "--gpu", "h100", "--out", out, "-q")
    done = evolver("replay", trace_file, "-p", "round_robin", "--calibration", out)
    assert done.code != 0
    assert "H100 x llama-3.1-8b x TP1" in done.err


@pytest.mark.parametrize(
    ("more", "said"),
    [(("--out", "/nowhere/at/all.json"), "cannot be written"), (("--tp", "3"), "no TP3"),
     (("--window-s", "60"), "vllm:"), (("--kv-tokens", "3"), "KV"),
     (("--max-num-seqs", "99999"), "max_num_seqs"), (("--model", "gpt-5"), "no profile")],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_sentence(evolver, timings, tmp_path, monkeypatch, more, said):
    monkeypatch.chdir(tmp_path)
    done = evolver("calibrate", timings, "--gpu", "a100", *more)
    assert done.code in (1, 2)
    assert said in done.err
    assert "Traceback" not in done.err
