import numpy as np
import pytest

from evolver.library import read
from sandbox.cluster import load_cluster
from sandbox.engine import load_policy
from sandbox.native.compiler import machine_code
from sandbox.replay import at_load
from sandbox.scenario import mark, outcome_of, score
from sandbox.scores import Candidate
from sandbox.scoring import ServingScoring, score_job
from sandbox.verifier import verify
from sandbox.windows import split_windows
from sandbox.worker import WorkerPool
from telemetry.generator import generate
from telemetry.profile import load_profile

CLUSTER = load_cluster("edge-8b")


@pytest.fixture(scope="module")
def trace():
    drawn = generate(load_profile("azure2023_conv"), n=8000, seed=2)
    return at_load(drawn, CLUSTER, 0.6)[0]


@pytest.fixture(scope="module")
def windows(trace):
    return split_windows(trace, CLUSTER)


def test_law_4_scores_do_not_depend_on_the_number_of_workers_nor_on_the_process(windows):
    payload = windows.training[:2]
    names = [window.name for window in payload]
    sources = ("round_robin", "least_loaded", "shortest_predicted_first")
    jobs = [(Candidate(read(name), None), names) for name in sources]
    found = []
    for workers in (1, 3):
        with WorkerPool(ServingScoring(payload), workers) as pool:
            found.append(pool.evaluate(jobs))
            assert pool.missing == ()
    here = load_policy(verify(read("round_robin")), engine="interpreted")
    assert found[0] == found[1]
    assert found[0][0] == [score(window, outcome_of(window, here)) for window in payload]
    assert all(score.fault is None for scores in found[0] for score in scores)


@pytest.mark.parametrize("name", ["round_robin", "least_loaded"])
def test_a_mark_is_the_objective_of_the_score(windows, name):
    policy = load_policy(verify(read(name)), engine="interpreted")
    for window in windows.training[:2]:
        outcome = outcome_of(window, policy)
        whole, alone = score(window, outcome), mark(window, outcome)
        assert alone.objective == whole.objective
        assert (alone.faults, alone.fault) == (whole.faults, whole.fault)
    outcome.entered[:] = -1
    assert mark(window, outcome).objective == score(window, outcome).objective


def test_a_kept_policy_takes_new_parameters(windows):
    payload, kept = windows.training[:1], {}
    text = read("least_predicted_completion")
    message = {"windows": [payload[0].name], "parameters": None, "source": text}
    plain = score_job(payload, message, b"", kept)
    tuned = {"KV_PENALTY": 50.0, "KV_KNEE": 0.5, "UNKNOWN_TOKENS": 16.0}
    assert score_job(payload, message | {"parameters": tuned}, b"", kept)
    assert score_job(payload, message, b"", kept) == plain


def test_machine_code_decides_as_the_interpreter_does(windows):
    payload, text = windows.training[:1], read("least_predicted_completion")
    message = {"windows": [payload[0].name], "parameters": None, "source": text}
    code = machine_code(verify(text)).to_bytes()
    assert score_job(payload, message, code, {}) == score_job(payload, message, b"", {})


def test_an_answer_that_is_too_good_is_a_crash(windows):
    scoring, name = ServingScoring(windows.training[:1]), windows.training[0].name
    message = {"windows": [name], "parameters": None, "source": read("round_robin")}
    reply = score_job(scoring.payload, message, b"", {})
    (honest,) = scoring.scores([name], reply)
    assert honest.fault is None
    n = len(windows.training[0].trace)
    finish = np.frombuffer(reply, np.int64, n, 16 * n)
    better = reply[: 16 * n] + (finish // 2).tobytes() + reply[24 * n :]
    for dishonest in (better, reply + b"\0", reply[:-1], b"", reply * 2):
        with pytest.raises(ValueError, match=r"."):
            scoring.scores([name], dishonest)
