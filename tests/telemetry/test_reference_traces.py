"""Every reference request file is read, and our statistics equal the published ones."""

from __future__ import annotations

import pytest

from telemetry.readers import read_trace
from telemetry.window import summarise

VERBATIM = ["azure2023_code", "azure2023_conv", "mooncake_conversation", "mooncake_synthetic",
            "lmsys_arena_vtc", "servegen_onoff_m-small"]
OTHER = ["lmcache_agent_trace", "alibaba_genai_qps",
         "servegen_native_onoff_m-small"]


def close(ours, theirs, rel=0.01, abs_=0.02) -> bool:
    return theirs is None or ours == pytest.approx(theirs, rel=rel, abs=abs_)


@pytest.mark.parametrize("name", VERBATIM)
def test_statistics_equal_the_manifest(reference, manifest, name):
    entry = manifest[name]
    window, stats = summarise(read_trace(reference / entry["file"])), entry["stats"]
    whole, moves = window.whole, window.dynamics
    for ours, theirs in ((whole.prompt_tokens, stats["in"]), (whole.output_tokens, stats["out"])):
        assert all(close(getattr(ours, key), theirs[key]) for key in ("mean", "p50", "p95", "p99"))
    assert whole.requests == entry["rows"]
    assert close(whole.rate_rps, stats["rate_rps"])
    assert close(whole.cv_iat, stats["cv_iat"])
    assert close(whole.in_out_ratio, stats["in_out_token_ratio"])
    assert close(moves.peak_to_mean, stats["peak_to_mean_min"], rel=0.03)
    assert close(moves.idle_minutes_share, stats["idle_minutes_frac"])
    for ours, lag in ((moves.acf_1, 1), (moves.acf_5, 5), (moves.acf_15, 15)):
        assert close(ours, stats[f"acf_min_lag{lag}"])
    assert close(moves.prompt_drift, stats["in_drift_max_over_min"])
    assert close(moves.output_drift, stats["out_drift_max_over_min"])


@pytest.mark.parametrize("name", ["mooncake_conversation", "mooncake_synthetic"])
def test_prefix_reuse_equals_the_manifest(reference, manifest, name):
    structure = summarise(read_trace(reference / manifest[name]["file"])).structure
    prefix = manifest[name]["stats"]["prefix"]
    assert structure.blocks == prefix["blocks"]
    assert close(structure.reuse_share, prefix["prefix_hit_share_blocks"], abs_=0.0005)


def test_agentic_sessions_equal_the_manifest(reference, manifest):
    entry = manifest["agentic_coding_weka"]
    trace = read_trace(reference / entry["file"])
    window = summarise(trace)
    assert (len(trace), window.structure.sessions) == (entry["rows"], entry["sessions"])
    assert close(window.whole.prompt_tokens.mean, entry["stats"]["in_tokens"]["mean"])
    # The published share counts hits in another way; ours is of blocks seen before in a row.
    assert close(window.structure.reuse_share, entry["stats"]["prefix_hit_share"], abs_=0.03)
    assert (trace.after >= 0).sum() == len(trace) - entry["sessions"]


def test_tenants_equal_the_manifest(reference, manifest):
    entry = manifest["lmsys_arena_vtc"]
    structure = summarise(read_trace(reference / entry["file"])).structure
    assert structure.tenants == entry["stats"]["clients"]
    assert close(structure.top_tenant_share, entry["stats"]["top_client_share"])


def test_realised_statistics_come_near_the_published_realisation(reference, manifest):
    ours = summarise(read_trace(reference / manifest["servegen_native_onoff_m-small"]["file"]))
    theirs = manifest["servegen_onoff_m-small"]["stats"]
    assert close(ours.whole.rate_rps, theirs["rate_rps"], rel=0.03)
    assert close(ours.whole.prompt_tokens.mean, theirs["in"]["mean"], rel=0.05)
    assert close(ours.whole.output_tokens.p95, theirs["out"]["p95"], rel=0.05)


@pytest.mark.parametrize("name", OTHER)
def test_every_other_family_is_recognised(reference, manifest, name):
    trace = read_trace(reference / manifest[name]["file"])
    assert len(trace) > 0
    assert trace.meta.notes


def test_the_image_log_keeps_every_row_when_asked(reference, manifest):
    trace = read_trace(reference / manifest["alibaba_genai_lora"]["file"], keep_failed=True)
    assert len(trace) == manifest["alibaba_genai_lora"]["rows"]
    assert any("denoising" in note for note in trace.meta.notes)
