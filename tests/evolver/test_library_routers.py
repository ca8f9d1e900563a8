"""Routers, fairness and speculation governors of the field decide as their systems say."""

import math

import pytest
from test_library import caller, instances, request

BOTH = pytest.mark.parametrize("engine", ["interpreted", "compiled"])


@BOTH
def test_dynamo_adds_prompt_tokens_to_compute_and_kv_in_use(engine):
    fleet = instances(
        3, cached_prefix_tokens=[900, 0, 0], kv_used_tokens=[3000, 1500, 2000],
        prefill_backlog_tokens=[0, 0, 0], queued_prompt_tokens=[0, 0, 0],
    )  # fmt: skip
    policy = caller("dynamo", engine)
    # with this prompt of 1,000 tokens: 100 + 4000, 1000 + 2500, 1000 + 3000
    assert policy.route(request(), fleet) == 17
    fleet["prefill_backlog_tokens"][1] = 1000
    assert policy.route(request(), fleet) == 24


def test_dynamo_behind_a_prefill_looks_at_kv_alone():
    fleet = instances(2, cached_prefix_tokens=[1000, 0], kv_used_tokens=[3000, 2900])
    assert caller("dynamo").route_decode(request(), fleet) == 17


@BOTH
def test_sglang_follows_its_own_picture_where_caches_are_unseen(engine):
    policy, fleet = caller("sglang", engine), instances(3)
    first = policy.route(request(prefix_key=5), fleet)
    others = [policy.route(request(prefix_key=key), fleet) for key in (6, 7)]
    assert sorted([first, *others]) == [10, 17, 24]  # the smallest tree takes what is new
    assert [policy.route(request(prefix_key=5), fleet, rotation=k) for k in range(3)] == [first] * 3


def test_sglang_balances_only_beyond_both_thresholds():
    policy = caller("sglang")
    cached = [900, 0]
    for running, chosen in (([100, 40], 10), ([500, 400], 10), ([300, 40], 17)):
        fleet = instances(2, cached_prefix_tokens=cached, running_requests=running)
        assert policy.route(request(), fleet) == chosen


def waiting(tenant, seed, **columns):
    base = {"tenant": tenant, "seed": seed, "weight": 1.0, "prompt_tokens": 100}
    return request(**{**base, "predicted_output_tokens": 50.0, **columns})


@BOTH
def test_vtc_lets_the_tenant_in_that_was_served_least(engine):
    policy, idle = caller("vtc", engine), instances(1)
    turns = [policy.priority(waiting(tenant, seed), idle) for seed, tenant in enumerate([1, 1, 1])]
    late = policy.priority(waiting(2, 9), idle)
    assert turns == [0.0, 200.0, 400.0]  # 100 in, 50 out that count twice
    assert late == 0.0


def test_vtc_charges_what_it_lets_in_and_idling_earns_no_credit():
    policy, idle = caller("vtc"), instances(1)
    for seed in range(5):
        policy.priority(waiting(1, seed), idle)
    for seed in range(3):
        assert policy.admit(waiting(1, seed), idle)
        assert policy.admit(waiting(1, seed), idle)  # asked again about the same: charged once
    assert policy.priority(waiting(2, 9), idle) == 600.0
    # once charged, those who still wait are in the places that they were given
    again = [policy.priority(waiting(1, s, keyed_count=1, now_s=101.0), idle) for s in (3, 4)]
    assert again == [600.0, 800.0]


def test_vtc_charges_a_heavier_tenant_less_and_a_preempted_request_not_again():
    policy, idle = caller("vtc"), instances(1)
    policy.priority(waiting(1, 1, weight=4.0), idle)
    assert policy.priority(waiting(1, 2, weight=4.0), idle) == 50.0
    policy.admit(waiting(1, 1, weight=4.0), idle)
    assert policy.admit(waiting(1, 1, weight=4.0, preempted_count=1), idle)
    assert policy.priority(waiting(3, 3), idle) == 50.0


def test_vtc_leaves_what_has_no_room_uncharged():
    policy = caller("vtc")
    full = instances(1, running_requests=3, kv_used_tokens=99_950)
    assert not policy.admit(waiting(1, 1), full)
    assert policy.memory[1] == 0.0


@BOTH
def test_glia_keeps_requests_until_kv_will_last(engine):
    fleet = instances(2, running_requests=[3, 1], kv_used_tokens=[10_000, 80_000])
    policy = caller("glia", engine)
    assert policy.route(request(), fleet) == 10  # though the other has fewer requests
    fleet["kv_used_tokens"] = 80_000
    assert policy.route(request(), fleet) == -1
    fleet["running_requests"][1] = 0
    assert policy.route(request(), fleet) == 17


@BOTH
def test_blis_weighs_the_cached_prefix_against_queue_and_kv(engine):
    policy = caller("blis", engine)
    fleet = instances(2, cached_prefix_tokens=[800, 0], queued_requests=[5, 0])
    assert policy.route(request(), fleet) == 10  # 2 + 0 + 1 against 0 + 1 + 1
    fleet["kv_used_tokens"] = [100_000, 0]
    chosen = {policy.route(request(seed=seed), fleet) for seed in range(40)}
    assert chosen == {10, 17}  # 2 + 0 + 0 against 0 + 1 + 1: drawn
    fleet["cached_prefix_tokens"] = 0
    assert policy.route(request(), fleet) == 17


def speculating(depth, columns):
    """Base and rise by sequence of a step that speculates, per token as engines report it."""
    base_s, each_s = columns.get("step_base_s", 0.01), 0.0001
    if depth == 0:
        return {"step_base_s": base_s, "step_per_seq_s": each_s}
    batch, accepted = columns["decoding_requests"], columns["acceptance"]
    plain_s = base_s + each_s * batch
    verify_s = max(plain_s, batch * (depth + 1) / columns.get("prefill_tokens_per_s", 10_000.0))
    tau = sum(accepted**k for k in range(depth + 1))
    token_s = (verify_s + 0.05 * depth * plain_s) / tau
    return {"step_base_s": token_s, "step_per_seq_s": 0.0}


def governed(name, ticks, engine="interpreted", **columns):
    """Depth that a governor settles on: its knob is obeyed, steps are as engines report them."""
    policy, depth = caller(name, engine), 0
    for _ in range(ticks):
        seen = columns.get("acceptance", 0.7) if depth > 0 else math.nan
        at = {**columns, "speculation_depth": depth, "acceptance": seen, "knob_speculation": -1}
        at |= speculating(depth, columns)
        row = instances(1, **at)
        policy.tune(row)
        depth = int(row["knob_speculation"][0])
    return depth


@BOTH
@pytest.mark.parametrize("name", ["heterospec", "yggdrasil", "moe_speq"])
def test_governors_go_deeper_where_more_is_accepted(name, engine):
    hard, easy = (
        governed(name, 6, engine, acceptance=share, decoding_requests=2) for share in (0.3, 0.9)
    )
    assert hard < easy


@pytest.mark.parametrize("name", ["heterospec", "yggdrasil", "moe_speq"])
def test_governors_stop_where_a_batch_is_bound_by_compute(name):
    # to verify one draft for each of 200 takes 133 ms, a plain step 30 ms
    columns = {"acceptance": 0.6, "decoding_requests": 200, "prefill_tokens_per_s": 3000.0}
    assert governed(name, 6, **columns) == 0


def test_yggdrasil_takes_the_depth_of_the_best_time():
    # verification is free up to compute, so tau / (1 + 0.05 k) decides: at 0.7 best at k = 5
    columns = {"acceptance": 0.7, "decoding_requests": 1, "prefill_tokens_per_s": 1e9}
    gains = [(1 - 0.7 ** (k + 1)) / 0.3 / (1 + 0.05 * k) for k in range(17)]
    assert governed("yggdrasil", 6, **columns) == gains.index(max(gains))


def test_yggdrasil_looks_at_plain_steps_now_and_then():
    columns = {"acceptance": 0.8, "decoding_requests": 1}
    depths = [governed("yggdrasil", ticks, **columns) for ticks in (60, 61, 62)]
    assert depths[1] == 0 < depths[0] == depths[2]


def test_moe_speq_drafts_less_where_each_draft_brings_more_experts_in():
    columns = {"acceptance": 0.8, "decoding_requests": 1, "prefill_tokens_per_s": 1e9}
    hidden = {"step_base_s": 0.2, **columns}  # a step lasts longer than all that is brought in
    assert governed("moe_speq", 6, **columns) < governed("moe_speq", 6, **hidden)
