import numpy as np
import pytest

from evolver.library import read
from sandbox.cluster import load_cluster
from sandbox.engine import load_policy
from sandbox.replay import at_load, capacity_rps, default_policy, replay
from sandbox.simulation import Setup, SimulationError
from sandbox.verifier import verify
from telemetry.generator import generate
from telemetry.profile import load_profile

CLUSTER = load_cluster("h100-8b")


@pytest.fixture(scope="module")
def trace():
    return generate(load_profile("azure2023_conv"), n=600, seed=3)


def test_results_come_in_order_with_the_names_replay_prints(trace):
    robin = load_policy(verify(read("round_robin")), engine="interpreted")
    seen = []
    found = replay(Setup(trace, CLUSTER), [("a", default_policy()), ("b", robin)], seen.append)
    assert [result.policy for result in found] == seen == ["a", "b"]
    told = found[1].to_json()
    assert told["requests"] == told["finished"] + told["rejected"] + told["unfinished"] == 600
    assert {"ttft_s", "smooth_goodput", "total_s", "price_usd"} <= set(told["metrics"])


def test_a_fault_is_told_in_words(trace):
    text = '"""Divides."""\n\n\ndef route(request, instances, memory):\n'
    text += "    return 1 // (request.turn * 0)\n"
    policy = load_policy(verify(text), engine="interpreted")
    (result,) = replay(Setup(trace, CLUSTER), [("bad", policy)])
    assert result.faults == 600
    assert result.fault == "route: it divided by zero"


def test_a_trace_is_laid_at_a_share_of_what_the_fleet_serves(trace):
    most = capacity_rps(trace, CLUSTER)
    scaled, report = at_load(trace, CLUSTER, 0.5)
    assert report.capacity_rps == most
    assert scaled.rate_rps == pytest.approx(0.5 * most, rel=0.01)
    assert "load 0.5" in report.sentence


def test_more_load_means_longer_waits(trace):
    waits = []
    for load in (0.3, 1.5):
        (result,) = replay(
            Setup(at_load(trace, CLUSTER, load)[0], CLUSTER), [("d", default_policy())]
        )
        waits.append(result.metrics.latencies["e2e_s"]["mean"])
    assert waits[0] < waits[1]


def test_the_same_seed_gives_the_same_numbers(trace):
    results = [
        replay(Setup(trace, CLUSTER, seed=s), [("d", default_policy())])[0].metrics.to_json()
        for s in (1, 1, 2)
    ]
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize("load", [0.0, -1.0, float("nan"), 1e9])
def test_a_load_that_means_nothing_is_refused(trace, load):
    with pytest.raises(SimulationError, match=r"0\.8"):
        at_load(trace, CLUSTER, load)


def test_a_fleet_that_serves_nothing_says_so(trace):
    from dataclasses import replace

    giant = replace(trace, prompt_tokens=np.full(len(trace), 10**7))
    with pytest.raises(SimulationError, match="larger GPUs"):
        at_load(giant, CLUSTER, 0.8)
