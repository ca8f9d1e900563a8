"""Guardrails: each can break, none breaks for a policy that does the same, nor for one request."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolver.guardrails import guardrail_lines, guardrails
from evolver.task import WindowResult
from sandbox.cluster import load_cluster

CLUSTER = load_cluster("edge-8b")
BASE = {
    "requests": 500.0, "smooth_goodput": 100.0, "reader_loss_s": 20.0,
    "ttft_p99_s": 2.0, "tpot_p99_s": 0.1,
    "rejected": 0.0, "unfinished": 0.0, "never_came": 0.0, "starved": 1.0, "longest_wait_s": 31.0,
    "reconfigurations": 1.0, "total_s": 60.0, "price_usd": 1.0, "tenant_fairness": 0.9,
    "requests_class_1": 400.0, "charged_class_1_s": 800.0, "alone_class_1_s": 400.0,
    "requests_tenant_3": 100.0, "charged_tenant_3_s": 300.0, "alone_tenant_3_s": 100.0,
    "requests_warmup": 200.0, "charged_warmup_s": 400.0, "alone_warmup_s": 200.0,
    "offline_requests": 50.0, "offline_finished": 50.0, "offline_charged_s": 2e5,
}  # fmt: skip
METRICS = st.floats(1e-3, 1e6) | st.sampled_from((0.0, math.nan))


def results(**changes):
    worst = {**BASE, **changes}
    return {"a": WindowResult("a", 1.0, dict(BASE)), "b": WindowResult("b", 1.0, worst)}


def broken(**changes):
    gates = guardrails(results(**changes), results(), CLUSTER)
    return {gate.name for gate in gates if not gate.passed}


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"smooth_goodput": 95.0}, "smooth_goodput"),
        ({"smooth_goodput": math.nan}, "smooth_goodput"),
        ({"reader_loss_s": 300.0}, "reader_loss"),
        ({"ttft_p99_s": 3.6}, "ttft_p99_s"),
        ({"ttft_p99_s": math.nan}, "ttft_p99_s"),
        ({"tpot_p99_s": 0.18}, "tpot_p99_s"),
        ({"rejected": 2.0}, "rejected"),
        ({"unfinished": 1.0, "never_came": 1.0}, "rejected"),
        ({"lost_early": 2.0}, "rejected"),
        ({"charged_warmup_s": 440.0}, "warmup"),
        ({"starved": 6.0}, "starvation"),
        ({"charged_class_1_s": 1600.0}, "fairness"),
        ({"charged_tenant_3_s": 800.0}, "fairness"),
        ({"offline_finished": 40.0}, "offline"),
        ({"offline_charged_s": 8e5}, "offline"),
        ({"reconfigurations": 9.0}, "reconfigurations"),
        ({"price_usd": 1.2}, "price"),
    ],
)
def test_each_guardrail_can_break_alone(changes, gate):
    assert broken(**changes) == {gate}


def test_a_tail_that_is_a_little_longer_everywhere_is_told_from_chance():
    human = {f"w{k}": WindowResult(f"w{k}", 1.0, dict(BASE)) for k in range(8)}
    for tails, passes in (([2.2] * 8, False), ([1.6, 2.6] * 4, True)):
        mine = {
            name: replace(result, metrics={**BASE, "ttft_p99_s": tail})
            for tail, (name, result) in zip(tails, human.items(), strict=True)
        }
        gates = {gate.name: gate.passed for gate in guardrails(mine, human, CLUSTER)}
        assert gates["ttft_p99_s"] is passes


def test_one_bad_window_is_not_averaged_away_by_a_good_one():
    human = {**results(), "c": WindowResult("c", 1.0, {**BASE, "ttft_p99_s": 9.0})}
    mine = {**results(ttft_p99_s=6.0), "c": WindowResult("c", 1.0, {**BASE, "ttft_p99_s": 4.0})}
    assert all(gate.passed for gate in guardrails(mine, human, CLUSTER))
    worse = {**results(ttft_p99_s=0.1), "c": WindowResult("c", 1.0, {**BASE, "ttft_p99_s": 15.9})}
    assert not {g.name: g.passed for g in guardrails(worse, human, CLUSTER)}["ttft_p99_s"]


@pytest.mark.parametrize(
    "changes",
    [
        {"rejected": 1.0},
        {"starved": 2.0},
        {"ttft_p99_s": 2.1, "tpot_p99_s": 0.102},
        {"reconfigurations": 3.0},
        {"offline_finished": 49.0},
        {"smooth_goodput": 98.5, "reader_loss_s": 120.0},
    ],
)
def test_one_request_or_a_small_change_breaks_none(changes):
    assert broken(**changes) == set()


@pytest.mark.parametrize(("earlier_s", "kept"), [(-40.0, True), (55.0, True), (70.0, False)])
def test_time_is_saved_not_moved_to_those_who_are_not_measured(earlier_s, kept):
    mine = results(charged_warmup_s=400.0 + earlier_s)
    mine["b"] = replace(mine["b"], objective=0.8)  # 100 s of 500 requests
    gates = {gate.name: gate.passed for gate in guardrails(mine, results(), CLUSTER)}
    assert gates["warmup"] is kept


def test_a_group_of_a_few_requests_is_no_group():
    few = {"requests_tenant_3": 10.0}
    mine, human = results(**few, charged_tenant_3_s=1e4), results(**few)
    del mine["a"], human["a"]
    assert all(gate.passed for gate in guardrails(mine, human, CLUSTER))


def test_tails_within_the_promise_harm_nobody():
    fast = {"ttft_p99_s": 0.2, "tpot_p99_s": 0.01}
    human = {"w": WindowResult("w", 1.0, {**BASE, **fast})}
    slower = {"w": WindowResult("w", 1.0, {**BASE, "ttft_p99_s": 0.9, "tpot_p99_s": 0.04})}
    assert all(gate.passed for gate in guardrails(slower, human, CLUSTER))


def test_a_window_without_measurements_breaks_them_all():
    (gate,) = guardrails({**results(), "b": WindowResult("b", 1e6)}, results(), CLUSTER)
    assert (gate.name, gate.passed) == ("measured", False)


@given(st.fixed_dictionaries(dict.fromkeys(BASE, METRICS)))
def test_a_policy_that_does_the_same_breaks_none(metrics):
    same = {"w": WindowResult("w", 1.0, metrics)}
    assert all(gate.passed for gate in guardrails(same, same, CLUSTER))


def test_proposers_are_told_every_limit():
    text = " ".join(guardrail_lines(CLUSTER))
    assert all(word in text for word in ("goodput", "p99", "rejected", "tenant", "offline"))


@pytest.mark.parametrize("metric", ["answer_quality", "finetune_gpu_hours"])
def test_latency_is_not_bought_with_quality_or_training(metric):
    human = results(**{metric: 1.0})
    for left, passes in ((0.9, False), (0.99, True)):
        gates = guardrails(results(**{metric: left}), human, CLUSTER)
        assert {gate.name: gate.passed for gate in gates}[metric] is passes
