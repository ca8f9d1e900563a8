"""Generated traces stay near their profile, repeat with their seed, and say what they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.arrivals import gamma_shape, renewal_times
from telemetry.capacity_generator import generate_capacity
from telemetry.errors import ProfileError
from telemetry.fit import fit_capacity, fit_profile
from telemetry.generator import generate
from telemetry.profile import load_profile, profile_names
from telemetry.trace import Trace, TraceMeta
from telemetry.window import capacity_row, summarise

TRAFFIC = profile_names("traffic")
SMALL = "lmsys_arena"


@pytest.mark.parametrize("name", [name for name in TRAFFIC if name != "agentic_coding"])
def test_rate_burstiness_and_lengths_are_near_the_profile(name):
    profile = load_profile(name)
    spans = 4 if profile.requests < 10_000 else 1
    whole = summarise(generate(profile, span_s=profile.span_s * spans, seed=11)).whole
    assert whole.rate_rps == pytest.approx(profile.rate_rps, rel=0.1)
    assert whole.cv_iat == pytest.approx(profile.cv_iat, rel=0.35)
    shares = [mix.share / len(profile.segments) for part in profile.segments for mix in part]
    for column in ("prompt_tokens", "output_tokens"):
        medians = [getattr(mix, column)[12] for part in profile.segments for mix in part]
        seen = getattr(whole, column)
        assert min(medians) <= seen.p50 <= max(medians)
        assert seen.max <= max(getattr(m, column)[-1] for part in profile.segments for m in part)
    assert sum(shares) == pytest.approx(1.0, abs=0.01)


def test_agentic_sessions_keep_their_lengths_reuse_and_turns():
    profile = load_profile("agentic_coding")
    window = summarise(generate(profile, seed=2))
    assert window.whole.prompt_tokens.p50 == pytest.approx(96_149, rel=0.2)
    assert window.structure.reuse_share > 0.85
    assert window.structure.turns.mean == pytest.approx(60, rel=0.3)


def test_fitting_a_generated_trace_gives_its_profile_back():
    profile = load_profile("azure2023_conv")
    again = fit_profile(generate(profile, span_s=profile.span_s * 3, seed=5))
    assert again.rate_rps == pytest.approx(profile.rate_rps, rel=0.05)
    assert again.cv_iat == pytest.approx(profile.cv_iat, rel=0.1)


def test_mooncake_reuse_survives_generation():
    structure = summarise(generate(load_profile("mooncake_conversation"), seed=1)).structure
    assert structure.reuse_share == pytest.approx(0.34, abs=0.05)


@pytest.mark.parametrize("name", ["azure2023_code", "mooncake_conversation", "agentic_coding"])
def test_the_same_seed_gives_the_same_bits(name):
    profile = load_profile(name)
    one, same, other = (generate(profile, span_s=900, seed=seed) for seed in (3, 3, 4))
    assert one.digest() == same.digest() != other.digest()
    assert one.meta.generated_from == 0


@given(st.integers(1, 400), st.integers(0, 99))
@settings(max_examples=25)
def test_the_asked_number_of_requests_is_given(n, seed):
    trace = generate(load_profile(SMALL), n=n, seed=seed)
    assert len(trace) == n


def test_the_rate_scale_scales_arrivals():
    profile = load_profile("azure2023_conv")
    assert generate(profile, rate_scale=0.25).rate_rps == pytest.approx(
        profile.rate_rps / 4, rel=0.1)


@pytest.mark.parametrize("wrong", [
    {"span_s": 1, "n": 1}, {"n": 0}, {"span_s": -1.0}, {"rate_scale": 0.0}, {"n": 10**9},
    {"span_s": float("inf")}])
def test_a_length_without_sense_is_refused(wrong):
    with pytest.raises(ProfileError, match=r"Give|give"):
        generate(load_profile(SMALL), **wrong)


def test_a_continued_trace_is_marked_from_its_seam():
    real = Trace.of(TraceMeta(name="real"), arrival_s=np.arange(600.0),
                    prompt_tokens=np.full(600, 50), output_tokens=np.full(600, 5))
    longer = real.extend(generate(fit_profile(real), span_s=600))
    assert longer.meta.generated_from == 600
    assert any("generated from the fitted profile" in note for note in longer.meta.notes)


@pytest.mark.parametrize("cv", [0.3, 1.0, 4.0])
def test_renewals_keep_rate_and_burstiness(cv):
    rng = np.random.default_rng(0)
    times = renewal_times(np.arange(11) * 1000.0, [5.0] * 10, [float(gamma_shape(cv))] * 10, rng)
    gaps = np.diff(times)
    assert len(times) == pytest.approx(50_000, rel=0.08)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.08)


def test_bursty_pieces_are_not_inflated_by_a_start_in_each():
    counts = [len(renewal_times(np.arange(101) * 10.0, [1.0] * 100, [1 / 64.0] * 100,
                                np.random.default_rng(seed))) for seed in range(60)]
    assert np.mean(counts) == pytest.approx(1000, rel=0.15)


@pytest.mark.parametrize("name", profile_names("capacity"))
def test_generated_capacity_keeps_its_mean_and_its_losses(name):
    profile = load_profile(name)
    row = capacity_row(generate_capacity(profile, span_s=profile.span_s * 6, seed=1))
    assert row.mean == pytest.approx(profile.mean_up, rel=0.2)
    assert row.losses_per_day == pytest.approx(profile.losses_per_day, rel=0.35)


def test_generated_capacity_repeats_and_fits_again():
    profile = load_profile("spot_4node")
    one, same = (generate_capacity(profile, seed=7) for _ in range(2))
    assert one.digest() == same.digest()
    assert fit_capacity(one).mean_up == pytest.approx(profile.mean_up, rel=0.3)
