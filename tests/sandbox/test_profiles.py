"""Step-time profiles: integer arithmetic, closed forms, memory, and names."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.profiles import (
    ProfileDataError,
    UnknownProfile,
    available,
    gpus,
    load_gpu,
    load_profile,
)
from sandbox.profiles.profile import (
    ATTENTION_SHIFT,
    MAX_BATCH,
    MAX_PREFIX_TOKENS,
    MAX_STEP_TOKENS,
    interpolate_ps,
)

INT64_MAX = 2**63 - 1

profiles = st.sampled_from(available()).map(lambda key: load_profile(*key))
batches = st.integers(1, MAX_BATCH)
contexts = st.integers(0, 20_000_000)


@settings(max_examples=200, deadline=None)
@given(profiles, batches, contexts, st.integers(0, 200))
def test_a_decode_run_is_exactly_the_sum_of_its_steps(profile, batch, context, steps):
    single = sum(profile.step_ps([], batch, context + i * batch) for i in range(steps))
    assert profile.decode_run_ps(batch, context, steps) == single


@settings(max_examples=100, deadline=None)
@given(profiles, batches, contexts, st.integers(0, 5000), st.integers(0, 5000))
def test_a_decode_run_can_be_cut_anywhere(profile, batch, context, first, second):
    whole = profile.decode_run_ps(batch, context, first + second)
    later = profile.decode_run_ps(batch, context + first * batch, second)
    assert profile.decode_run_ps(batch, context, first) + later == whole


@settings(max_examples=200, deadline=None)
@given(profiles, st.integers(0, MAX_BATCH), contexts, st.integers(1, 4096), st.integers(0, 100_000))
def test_prefill_work_never_makes_a_step_shorter(profile, batch, context, chunk, prefix):
    context = context if batch else 0
    without = profile.step_ps([], batch, context)
    some = profile.step_time_ps(chunk, prefix, batch, context)
    more = profile.step_time_ps(chunk + 1, prefix + 1, batch, context)
    assert without <= some <= more


@settings(max_examples=60, deadline=None)
@given(profiles, st.integers(0, MAX_BATCH), st.integers(0, MAX_STEP_TOKENS))
def test_dense_tables_equal_the_piecewise_reference(profile, batch, tokens):
    decode, context, mixed = _dense(profile.gpu, profile.model, profile.tp)
    assert mixed[batch] == profile.mixed_base_ps(batch)
    if batch:
        assert decode[batch] == interpolate_ps(profile.batch_grid, profile.decode_ps, batch)
        assert context[batch] == interpolate_ps(profile.batch_grid, profile.context_ps, batch)
    if tokens:
        expected = interpolate_ps(profile.token_grid, profile.prefill_ps, tokens)
        assert profile.dense_token_table()[tokens] == expected


@cache
def _dense(*key):
    return load_profile(*key).dense_batch_tables()


@pytest.mark.parametrize("key", available(), ids=str)
def test_nothing_leaves_int64_at_the_edge_of_the_domain(key):
    profile = load_profile(*key)
    unshifted = (profile.attention_ps(MAX_STEP_TOKENS, MAX_PREFIX_TOKENS) + 1) << ATTENTION_SHIFT
    assert unshifted <= INT64_MAX
    for batch in profile.batch_grid.tolist():
        assert profile.decode_run_ps(batch, 0, profile.context_limit_tokens) <= INT64_MAX
    assert int(np.diff(profile.prefill_ps).max()) * MAX_STEP_TOKENS <= INT64_MAX


@pytest.mark.parametrize("key", available(), ids=str)
def test_small_prefills_and_decodes_agree(key):
    profile = load_profile(*key)
    for tokens in (1, 8, 64, 256):
        dense = interpolate_ps(profile.token_grid, profile.prefill_ps, tokens)
        decode = interpolate_ps(profile.batch_grid, profile.decode_ps, tokens)
        assert 0.5 < dense / decode < 2.0


@pytest.mark.parametrize("key", available(), ids=str)
def test_the_kv_cache_is_what_weights_and_activations_leave(key):
    profile = load_profile(*key)
    usable = int(load_gpu(profile.gpu).memory_bytes * 0.9) * profile.tp
    used = profile.weight_bytes + profile.kv_capacity_tokens * profile.kv_bytes_per_token
    assert profile.kv_capacity_tokens > 0
    assert used < usable < used + 0.2 * usable


@pytest.mark.parametrize(
    ("model", "kv_bytes", "parameters"),
    [("llama-3.1-8b", 131_072, 8.03e9), ("llama-3.1-70b", 327_680, 70.55e9),
     ("qwen3-32b", 262_144, 32.76e9)],
)  # fmt: skip
def test_memory_follows_the_published_model(model, kv_bytes, parameters):
    profile = load_profile("H200", model, 2)
    assert profile.kv_bytes_per_token == kv_bytes
    assert profile.weight_bytes == pytest.approx(2 * parameters, rel=1e-3)


def test_the_latent_cache_is_on_every_gpu():
    profile = load_profile("H200", "deepseek-v3", 8)
    assert profile.kv_bytes_per_token == 8 * 61 * (512 + 64) * 2


def test_every_gpu_and_every_model_has_a_profile():
    assert {gpu for gpu, _, _ in available()} == {gpu.name for gpu in gpus()}
    assert {model for _, model, _ in available()} == {
        "deepseek-v3", "llama-3.1-70b", "llama-3.1-70b-fp8", "llama-3.1-8b", "llama-3.1-8b-fp8",
        "qwen3-32b", "qwen3-32b-fp8",
    }  # fmt: skip


def test_step_times_are_near_the_measured_kernels():
    profile = load_profile("H100", "llama-3.1-8b", 1, terms=False)
    kernels = profile.step_time_ps(0, 0, 128, 128 * 1024) - profile.step_overhead_ps
    assert kernels / 1e9 == pytest.approx(12.8, rel=0.05)
    prefill = profile.step_time_ps(4096, 0, 0, 0) - profile.step_overhead_ps
    assert prefill / 1e9 == pytest.approx(90.1, rel=0.05)


def test_names_forgive_case_punctuation_and_owner():
    profile = load_profile("rtx pro 6000", "meta-llama/Llama-3.1-8B-Instruct", 1)
    assert (profile.gpu, profile.model) == ("RTX-PRO-6000", "llama-3.1-8b")


@pytest.mark.parametrize(
    ("key", "named"),
    [(("H900", "llama-3.1-8b", 1), "H100"), (("H100", "gpt-5", 1), "qwen3-32b"),
     (("H100", "llama-3.1-8b", 3), "TP 1, 2, 4, 8"), (("A100", "deepseek-v3", 8), "H200")],
)  # fmt: skip
def test_an_unknown_name_lists_what_exists(key, named):
    with pytest.raises(UnknownProfile, match=named):
        load_profile(*key)


def test_calibration_moves_only_its_own_term():
    profile = load_profile("RTX-PRO-6000", "qwen3-32b", 2, terms=False)
    slow = profile.calibrated(all_reduce_scale=3.0, step_overhead_ps=2_000_000_000)
    assert slow.calibrated(all_reduce_scale=3.0).prefill_ps.tolist() == slow.prefill_ps.tolist()
    assert (slow.decode_ps >= profile.decode_ps + 2 * profile.all_reduce_batch_ps - 1).all()
    assert slow.context_ps is profile.context_ps
    alone = load_profile("H100", "llama-3.1-8b", 1)
    assert alone.calibrated(all_reduce_scale=3.0).decode_ps.tolist() == alone.decode_ps.tolist()


def test_a_negative_calibration_is_refused():
    with pytest.raises(ProfileDataError, match="zero or more"):
        load_profile("H100", "llama-3.1-8b", 1).calibrated(step_overhead_ps=-1)


def test_a_falling_table_is_refused():
    profile = load_profile("H100", "llama-3.1-8b", 1)
    with pytest.raises(ProfileDataError, match="falls"):
        replace(profile, decode_ps=profile.decode_ps[::-1].copy())


def test_shipped_arrays_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        load_profile("H100", "llama-3.1-8b", 1).prefill_ps[0] = 1


def test_the_tables_are_small_and_say_whose_they_are():
    text = files("sandbox.profiles").joinpath("tables.json").read_text(encoding="utf-8")
    assert len(text) < 600_000
    assert json.loads(text)["source"]["licence"] == "Apache-2.0"
    assert "NVIDIA" in files("sandbox.profiles").joinpath("NOTICE").read_text(encoding="utf-8")


def test_loading_needs_neither_numba_nor_the_builder():
    code = (
        "import sys, sandbox.profiles as p; p.load_profile('H100', 'qwen3-32b', 2);"
        "sys.exit(bool({'numba', 'scipy', 'aiconfigurator_core'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unmeasured_model_takes_host_terms_and_no_factors():
    profile = load_profile("RTX-PRO-6000", "llama-3.1-70b", 2)
    assert profile.step_overhead_ps > 1_200_000_000
    assert (profile.all_reduce_scale, profile.context_scale) == (1.0, 1.0)
    assert load_profile("RTX-PRO-6000", "qwen3-32b", 2).all_reduce_scale > 1.5
