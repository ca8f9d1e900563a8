"""Predicted output lengths: the stated error, nothing better, and what is learned from the past."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.cluster import ClusterSpec
from sandbox.foretelling import learned_by
from sandbox.kernel.program import Program
from sandbox.predictions import predict_lengths
from sandbox.replay import default_policy
from sandbox.simulation import Setup, build
from telemetry.trace import Trace, TraceMeta

BASE = {"model": "Llama-3.1-8B", "pool": [{"gpu": "H100", "count": 1}]}
N = 4000


def setup(output, seed=0, **predictor):
    n = len(output)
    trace = Trace.of(
        TraceMeta(name="p"), arrival_s=np.arange(n) * 10.0, prompt_tokens=np.full(n, 10),
        output_tokens=output, online=np.arange(n) % 2 == 0,
    )  # fmt: skip
    return Setup(trace, ClusterSpec.model_validate(BASE | {"predictor": predictor}), seed=seed)


@given(st.integers(0, 10**6), st.floats(0.05, 0.8), st.floats(0.3, 4.0))
@settings(max_examples=20, deadline=None)
def test_predictions_have_the_stated_bias_and_spread_and_error(seed, sigma, bias):
    truth = np.random.default_rng(seed).integers(2000, 9000, N)
    predicted, error = predict_lengths(setup(truth, seed, sigma=sigma, bias=bias))
    factor = predicted / truth
    noise = np.sqrt(np.expm1(sigma**2) / N)
    assert np.mean(factor) == pytest.approx(bias, rel=6 * noise)
    assert np.std(np.log(factor)) == pytest.approx(sigma, rel=0.08)
    squared = (factor - 1) ** 2
    assert np.mean(squared) == pytest.approx(error[0] ** 2, abs=6 * squared.std() / np.sqrt(N))


def test_errors_do_not_follow_the_truth_and_differ_by_seed():
    truth = np.tile([50, 5000], N // 2)
    one, other = (predict_lengths(setup(truth, seed))[0] / truth for seed in (1, 2))
    assert abs(np.corrcoef(np.log(one), truth)[0, 1]) < 0.06
    assert abs(np.corrcoef(np.log(one), np.log(other))[0, 1]) < 0.06


def test_history_predicts_the_mean_of_the_class_so_far():
    given = setup(np.array([10, 400, 30, 600, 20, 500]), mode="history")
    program = Program(build(given, default_policy(), default_policy()))
    program.start()
    while program.run(100):
        pass
    rows = program.sim.requests
    # each finishes before the next of its class comes; odd ones are offline, a class of their own
    assert np.isnan(rows["predicted"][:2]).all()
    assert rows["predicted"][2:].tolist() == pytest.approx([10, 400, 20, 500])
    assert rows["predicted_error"][4] == pytest.approx(10 / 20)
    assert np.isnan(rows["predicted_error"][:4]).all()


def drawn(n=N, seed=5):
    """Two kinds of prompt with answers of their own length, 0.5 s apart."""
    rng = np.random.default_rng(seed)
    long = rng.integers(0, 2, n)
    return Trace.of(
        TraceMeta(name="kinds"), arrival_s=np.arange(n) * 0.5, prompt_tokens=100 + 2000 * long,
        output_tokens=np.rint(np.where(long, 900, 60) * rng.lognormal(0.0, 0.3, n)),
    )  # fmt: skip


def measured(trace, seed=0, signals="full", learned=b"", **predictor):
    spec = BASE | {"predictor": {"mode": "measured", **predictor}, "signals": signals}
    return Setup(trace, ClusterSpec.model_validate(spec), seed=seed, learned=learned)


def test_measured_predictions_are_those_of_the_predictor_that_gateways_have():
    trace = drawn()
    predicted, error = predict_lengths(measured(trace))
    assert np.isnan(predicted[0])
    known = ~np.isnan(predicted)
    long = trace.prompt_tokens > 100
    for kind, mean in ((long, 900), (~long, 60)):
        late = kind & known & (np.arange(N) > 500)
        assert predicted[late].mean() == pytest.approx(mean * np.exp(0.045), rel=0.15)
        assert np.median(error[late]) == pytest.approx(0.31, abs=0.15)


def test_law_2_measured_predictions_hang_on_nothing_that_comes_later():
    trace = drawn(800)
    changed = replace(
        trace, output_tokens=np.where(np.arange(800) < 600, trace.output_tokens, 5)
    )
    for factor in (1.0, 2.0):
        one, other = (
            predict_lengths(measured(t, error_factor=factor))[0][:601] for t in (trace, changed)
        )
        np.testing.assert_array_equal(one, other)


def test_a_predictor_twice_as_bad_says_so_and_its_log_error_is_twice_as_large():
    trace = drawn()
    spread = []
    for factor in (1.0, 2.0):
        predicted, error = predict_lengths(measured(trace, error_factor=factor))
        late = slice(500, None)
        spread.append((np.std(np.log(predicted / trace.output_tokens)[late]), error[late].mean()))
    assert spread[1][0] / spread[0][0] == pytest.approx(2.0, abs=0.25)
    assert spread[1][1] > 1.8 * spread[0][1]
    noisy, _ = predict_lengths(setup(np.full(N, 5000), sigma=0.3, error_factor=2.0))
    assert np.std(np.log(noisy / 5000)) == pytest.approx(0.6, rel=0.08)


def test_behind_a_door_it_learns_from_what_the_door_shows():
    trace = drawn()
    exact, behind = (
        predict_lengths(measured(trace, signals=name))[0] for name in ("full", "gateway")
    )
    assert not np.array_equal(exact, behind, equal_nan=True)
    assert np.nanmean(behind) == pytest.approx(np.nanmean(exact), rel=0.1)


def test_a_window_begins_with_what_was_learned_before_it():
    trace = drawn()
    whole = measured(trace)
    (before,) = learned_by(whole, [1000.0])
    later = trace.slice(1000.0, trace.span_s)
    predicted, _ = predict_lengths(measured(later, learned=before))
    long = later.prompt_tokens > 100
    assert predicted[long][0] > 600 > 200 > predicted[~long][0]


@pytest.mark.parametrize("predictor", [{"mode": "none"}, {"sigma": None}])
def test_without_a_predictor_there_is_nothing(predictor):
    predicted, error = predict_lengths(setup(np.full(5, 100), **predictor))
    assert np.isnan(predicted).all()
    assert np.isnan(error).all()


def test_nothing_that_ended_between_two_times_is_forgotten():
    trace = drawn(200)
    every = [float(at) for at in range(101)]
    assert learned_by(measured(trace), [*every, 1e6])[-1] == learned_by(measured(trace), [1e6])[0]
