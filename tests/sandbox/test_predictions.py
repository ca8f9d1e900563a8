"""Predicted output lengths: the stated error, nothing better, and what is learned from the past."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.cluster import ClusterSpec
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


@pytest.mark.parametrize("predictor", [{"mode": "none"}, {"sigma": None}])
def test_without_a_predictor_there_is_nothing(predictor):
    predicted, error = predict_lengths(setup(np.full(5, 100), **predictor))
    assert np.isnan(predicted).all()
    assert np.isnan(error).all()
