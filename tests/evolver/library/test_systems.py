"""What sets each published system apart, on rows by hand; both engines decide alike."""

import math

import numpy as np
import pytest
from policy_rows import caller, cluster, instances, plan_of, request, rows, window

from sandbox import contract
from sandbox.contract import DECODE, MIXED, PREFILL

ENGINES = ("interpreted", "compiled")


def two_pools(prompt=900.0, output=100.0, seconds=20.0):
    """Four GPUs good at computing, four good at bandwidth, one a replica, for such requests."""
    made = cluster(gpus=4, rates=((1, 2.0), (1, 2.0)), start_s=seconds)
    made["n_pools"], made["kv_bytes_per_token"] = 2, 131_072.0
    pools, shapes = made["pools"][0], made["shapes"][0]
    pools[1]["present"], pools[1]["node_size"], shapes[1]["pool"] = 4, 8, 1
    shapes["fits_now"] = 4
    pools["link_bytes_per_s"] = 1e11
    pools["flops"][:2], pools["bandwidth_bytes_per_s"][:2] = (9e14, 3e14), (2e12, 2e12)
    shapes["prefill_tokens_per_s"][:2], shapes["kv_capacity_tokens"] = (20_000.0, 4_000.0), 100_000
    for shape, decode_s in zip(shapes, (0.0012, 0.0008), strict=False):
        shape["rate_rps"] = 1.0 / (prompt / shape["prefill_tokens_per_s"] + output * decode_s)
    return made


def plan_with(*replicas):
    """A plan of single-GPU replicas: (pool, role) each."""
    made = plan_of(*[1] * len(replicas))
    for row, (pool, role) in zip(made["replicas"][0], replicas, strict=False):
        row["pool"], row["role"] = pool, role
    return made


def roles(name, at, hardware, plan, engine="interpreted"):
    """(pool, role) of the replicas of the plan that a policy makes, sorted."""
    made = rows(contract.Plan, 1)
    caller(name, engine).schedule(at, hardware, plan, made)
    filled = made["replicas"][0, : made["n_replicas"][0]]
    return sorted(zip(filled["pool"].tolist(), filled["role"].tolist(), strict=True))


def tps(name, at, hardware, plan):
    made = rows(contract.Plan, 1)
    caller(name).schedule(at, hardware, plan, made)
    return sorted(made["replicas"]["tp"][0, : made["n_replicas"][0]].tolist())


def test_hexgen_flow_gives_the_fast_engine_more_and_not_everything():
    speeds = instances(2, step_base_s=[0.01, 0.03], step_time_s=[0.01, 0.03])
    busy = instances(
        2, step_base_s=[0.01, 0.03], running_requests=[20, 0], queued_prompt_tokens=[50_000, 0]
    )
    policy = caller("hexgen_flow")
    assert [policy.route(request(), fleet) for fleet in (speeds, busy)] == [10, 17]


def test_hexgen_flow_runs_first_what_has_least_time_left_for_its_work():
    policy, engine = caller("hexgen_flow"), instances(1)
    long, short = (
        policy.priority(request(predicted_output_tokens=n, deadline_s=20.0), engine)
        for n in (1000.0, 10.0)
    )
    assert long < short


def test_hermes_by_deadline_runs_the_workflow_that_could_be_late_first():
    policy, engine = caller("hermes_lstf"), instances(1)
    safe, tight, free = (
        policy.priority(request(**columns), engine)
        for columns in (
            {"workflow_horizon_s": 90.0, "workflow_age_s": 5.0, "workflow_remaining_s": 10.0},
            {"workflow_horizon_s": 90.0, "workflow_age_s": 99.0, "workflow_remaining_s": 30.0},
            {"workflow_remaining_s": 1.0},
        )
    )
    assert tight < safe < free


def test_hermes_by_deadline_learns_a_worst_case_that_the_prediction_does_not_tell():
    policy, engine = caller("hermes_lstf"), instances(1)
    call = {"workflow_horizon_s": 60.0, "workflow_age_s": 1.0, "workflow_remaining_s": 5.0}
    before = policy.priority(request(class_id=1, keyed_count=1, **call), engine)
    for _ in range(40):
        for calls in (0, 1, 2, 4):
            policy.priority(
                request(class_id=1, workflow_done_calls=calls, workflow_served_s=20.0 * calls),
                engine,
            )
    assert policy.priority(request(class_id=1, keyed_count=1, **call), engine) < before


def test_qllm_puts_every_urgent_request_before_best_effort_work_and_short_before_long():
    policy, engine = caller("qllm"), instances(1, max_num_seqs=8)
    keys = [
        policy.priority(request(online=online, predicted_output_tokens=n), engine)
        for online, n in ((True, 20.0), (True, 2000.0), (False, 1.0))
    ]
    assert keys == sorted(keys)


@pytest.mark.parametrize(("used", "admitted"), [(30_000, True), (92_000, False)])
def test_qllm_keeps_kv_for_urgent_work(used, admitted):
    engine = instances(1, running_requests=2, kv_used_tokens=used, max_num_seqs=8)
    assert caller("qllm").admit(request(online=False), engine) is admitted
    assert caller("qllm").admit(request(online=True), engine)


def test_qllm_gives_best_effort_work_all_seats_only_where_it_is_alone():
    fleet = instances(2, running_requests=[4, 4], offline_requests=[4, 2])
    for row in range(2):
        caller("qllm").tune(fleet[row : row + 1])
    assert fleet["knob_offline_share"].tolist() == [1.0, 0.75]


def released(policy, engine, hits, depth, session=-1, age_s=0.0, users=0):
    entry = rows(
        contract.Entry, 1, tokens=512, load_s=0.05, hits=hits, depth_tokens=depth,
        session=session, age_s=age_s, users=users,
    )  # fmt: skip
    return policy.evict(entry, engine)


def test_igtcache_keeps_by_frequency_where_use_is_skewed_and_not_where_it_is_even():
    for spread, prefers in (((1, 1, 1, 40), True), ((3, 3, 3, 3), False)):
        policy, engine = caller("igtcache"), instances(1)
        for hits in spread * 20:
            released(policy, engine, hits, depth=0)
        often, seldom = (released(policy, engine, h, 0, age_s=5.0) for h in (20, 2))
        assert (often > 1.5 * seldom) is prefers


def test_igtcache_lets_go_of_conversations_that_fell_silent():
    policy, engine = caller("igtcache"), instances(1)
    young, old = (released(policy, engine, 2, 512, session=3, age_s=a) for a in (5.0, 900.0))
    assert old < young < released(policy, engine, 0, 512, users=1)


def moves_of(name, fleet, **columns):
    count = len(columns["request"])
    base = {"decoding": True, "context_tokens": 3000, "transfer_s": 0.01, "class_id": 2}
    made = rows(contract.Moves, 1)
    running = rows(contract.Running, count, **{**base, **columns})
    caller(name).migrate(running, fleet, made)
    return made["rows"][0, : made["n_rows"][0]].tolist()


def fragmented(**columns):
    """A waiting prompt fits nowhere: 10 is nearly full, 17 has most room."""
    base = {
        "kv_used_tokens": [97_000, 20_000], "running_requests": [12, 4], "queued_requests": [1, 0],
        "queued_prompt_tokens": [6000, 0],
    }  # fmt: skip
    return instances(2, **{**base, **columns})


def test_llumnix_makes_room_for_a_waiting_prompt_by_moving_the_shortest():
    one_class = {"class_id": 1, "context_tokens": [9000, 800]}
    moved = moves_of("llumnix", fragmented(), request=[1, 2], instance=10, **one_class)
    assert moved[0] == (2, 17)


def test_llumnix_leaves_even_loads_alone():
    even = fragmented(kv_used_tokens=40_000, queued_requests=0, queued_prompt_tokens=0)
    assert moves_of("llumnix", even, request=[1, 2], instance=10) == []


def test_llumnix_moves_others_and_not_the_urgent_and_empties_what_goes():
    both = {"request": [1, 2], "instance": 10, "class_id": [1, 2], "context_tokens": [800, 9000]}
    assert moves_of("llumnix", fragmented(), **both)[0] == (2, 17)
    leaving = fragmented(grace_s=[20.0, math.nan], kv_used_tokens=[10_000, 20_000])
    assert sorted(moves_of("llumnix", leaving, **both)) == [(1, 17), (2, 17)]


def test_llumnix_sends_new_requests_to_the_freest():
    fleet = instances(2, kv_used_tokens=[60_000, 40_000], running_requests=[2, 20])
    assert caller("llumnix").route(request(), fleet) == 10


SPLITTERS = ("splitwise", "distserve", "hexgen2", "hexgen3", "thunderserve")


@pytest.mark.parametrize("name", SPLITTERS)
def test_prompts_and_answers_get_replicas_of_their_own(name):
    made = {role for _, role in roles(name, window(requests=100), two_pools(), plan_of())}
    assert {PREFILL, DECODE} <= made


@pytest.mark.parametrize("name", SPLITTERS)
def test_longer_prompts_take_more_of_the_fleet(name):
    counts = []
    for prompt, output in ((500.0, 500.0), (9000.0, 20.0)):
        at = window(requests=100, prompt_mean_tokens=prompt, output_mean_tokens=output)
        made = roles(name, at, two_pools(prompt, output), plan_of())
        counts.append(sum(role == PREFILL for _, role in made))
    assert counts[0] < counts[1]


@pytest.mark.parametrize("name", ["splitwise", "hexgen2", "thunderserve"])
def test_the_hardware_with_more_computing_takes_prompts(name):
    at = window(requests=100, prompt_mean_tokens=3000.0)
    made = roles(name, at, two_pools(3000.0), plan_of())
    prompts = [pool for pool, role in made if role == PREFILL]
    assert prompts.count(0) > prompts.count(1)


@pytest.mark.parametrize("name", [*SPLITTERS, "chameleon", "autopoiesis"])
def test_one_gpu_alone_serves_whole_requests(name):
    assert roles(name, window(requests=9), cluster(gpus=1, rates=((1, 1.0),)), plan_of()) == [
        (0, MIXED)
    ]


def test_splitwise_overflows_into_the_mixed_pool_and_decodes_in_its_own():
    policy = caller("splitwise")
    calm, busy = (
        instances(2, role=[PREFILL, MIXED], queued_prompt_tokens=[tokens, 0])
        for tokens in (5_000, 90_000)
    )
    assert [policy.route(request(), fleet) for fleet in (calm, busy)] == [10, 17]
    full = instances(2, role=[DECODE, MIXED], kv_used_tokens=[99_000, 0])
    empty = instances(2, role=[DECODE, MIXED], kv_used_tokens=[60_000, 0])
    assert [policy.route_decode(request(), fleet) for fleet in (full, empty)] == [17, 10]


def test_splitwise_moves_machines_only_when_the_split_is_off():
    plan = plan_with(*[(0, PREFILL)] * 4, *[(1, DECODE)] * 4)
    asked = [
        caller("splitwise").should_reschedule(
            window(requests=100, since_plan_s=100.0, prompt_mean_tokens=prompt),
            two_pools(prompt, 150.0), plan,
        )
        for prompt in (2500.0, 300.0)
    ]  # fmt: skip
    assert asked == [False, True]


def test_distserve_takes_a_larger_prefill_replica_when_the_target_is_tight():
    # One GPU computes the prompt in 0.9 s, four in 0.25 s; per GPU, one is the better.
    hardware = cluster(gpus=8, rates=((1, 1.0), (4, 3.9)))
    hardware["shapes"]["prefill_tokens_per_s"][0, :2] = (1000.0, 3600.0)
    hardware["shapes"]["kv_capacity_tokens"] = 100_000
    made = rows(contract.Plan, 1)
    caller("distserve").schedule(window(requests=9), hardware, plan_of(), made)
    prompts = [
        int(row["tp"])
        for row in made["replicas"][0, : made["n_replicas"][0]]
        if row["role"] == PREFILL
    ]
    assert prompts == [4]


def test_distserve_plans_again_when_lengths_have_shifted_for_a_while():
    policy, hardware, plan = caller("distserve"), two_pools(), plan_of(1, 1)
    policy.schedule(window(requests=9), hardware, plan, rows(contract.Plan, 1))
    asked = [
        policy.should_reschedule(
            window(requests=100, since_plan_s=500.0, prompt_mean_tokens=prompt), hardware, plan
        )
        for prompt in (1300.0, 1000.0, 1000.0, 1600.0, 1600.0, 1600.0)
    ]
    assert asked[:3] == [False] * 3
    assert asked[-1]


def test_hexgen2_stays_with_its_plan_when_only_traffic_changes():
    policy, hardware, plan = caller("hexgen2"), two_pools(), plan_of(1, 1)
    policy.schedule(window(requests=9), hardware, plan, rows(contract.Plan, 1))
    assert not policy.should_reschedule(window(requests=900, rate_rps=90.0), hardware, plan)
    assert policy.should_reschedule(window(capacity_changed=True), hardware, plan)


def test_thunderserve_answers_a_shift_with_new_phases_and_no_new_replica():
    before = plan_with(*[(0, PREFILL)] * 3, (0, DECODE), *[(1, DECODE)] * 4)
    at = window(requests=100, prompt_mean_tokens=200.0, rate_rps=1.0)
    made = roles("thunderserve", at, two_pools(200.0), before)
    assert [pool for pool, _ in made] == [0] * 4 + [1] * 4
    assert sum(role == PREFILL for _, role in made) < 3


def test_thunderserve_asks_when_lengths_shift_and_not_when_they_do_not():
    policy, hardware, plan = caller("thunderserve"), two_pools(), plan_of(1, 1)
    policy.schedule(window(requests=9), hardware, plan, rows(contract.Plan, 1))
    same, longer = window(since_plan_s=90.0), window(since_plan_s=90.0, prompt_mean_tokens=2000.0)
    asked = [policy.should_reschedule(at, hardware, plan) for at in (same, longer)]
    assert asked == [False, True]


@pytest.mark.parametrize(("start_s", "kept"), [(5.0, False), (295.0, True)])
def test_hexgen3_switches_only_if_the_reload_is_paid_back(start_s, kept):
    made, hardware = rows(contract.Plan, 1), two_pools(seconds=start_s)
    caller("hexgen3").schedule(
        window(requests=9), hardware, plan_with((0, PREFILL), (0, DECODE)), made
    )
    assert bool(made["keep"][0]) is kept


@pytest.mark.parametrize(("rate_rps", "wanted"), [(0.5, 2), (7.5, 4), (50.0, 8)])
def test_hexgen3_scales_elastic_pools_to_their_use_by_at_most_two(rate_rps, wanted):
    hardware = cluster(gpus=4, rates=((1, 2.5),))
    hardware["pools"][0, 0]["elastic"] = True
    hardware["shapes"]["prefill_tokens_per_s"][0, 0] = 4500.0
    at = window(requests=9, rate_rps=rate_rps)
    caller("hexgen3").schedule(at, hardware, plan_of(), rows(contract.Plan, 1))
    assert hardware["pools"][0, 0]["wanted"] == wanted


def after_loss(rate_rps, start_s, present=6):
    """Two replicas of four GPUs, one lost with two of its GPUs; singles do most on what is left."""
    hardware = cluster(gpus=present, rates=((1, 1.1), (4, 4.0)), start_s=start_s)
    plan = plan_of(4, 4)
    plan["replicas"][0, 1]["instance"] = -1
    at = window(requests=9, rate_rps=rate_rps, plan_feasible=False, capacity_changed=True)
    return tps("chameleon", at, hardware, plan)


@pytest.mark.parametrize("rate_rps", [1.0, 20.0])
def test_chameleon_builds_beside_what_is_left_and_stops_nothing_that_serves(rate_rps):
    assert after_loss(rate_rps=rate_rps, start_s=60.0) == [1, 1, 4]


def test_chameleon_builds_anew_only_if_loading_is_short_against_the_time_between_failures():
    assert after_loss(rate_rps=20.0, start_s=1.0) == [1] * 6
    assert after_loss(rate_rps=20.0, start_s=599.0) != [1] * 6


def moving(policy, hardware, plan, rates):
    """Feed monitoring points of these rates; what the trigger said."""
    return [
        policy.should_reschedule(
            window(requests=9, rate_rps=r, since_plan_s=2000.0, scheduling_s=0.0), hardware, plan
        )
        for r in rates
    ]


def test_autopoiesis_switches_in_calm_times_what_it_leaves_in_restless_ones():
    hardware = cluster(gpus=8, rates=((1, 1.0), (4, 6.0)), start_s=80.0)
    plan, made = plan_of(*[1] * 8), {}
    for kind, rates in (("calm", [4.0] * 12), ("restless", [1.0, 5.0] * 6)):
        policy = caller("autopoiesis")
        moving(policy, hardware, plan, rates)
        new_plan = rows(contract.Plan, 1)
        policy.schedule(window(requests=9, since_plan_s=2000.0), hardware, plan, new_plan)
        made[kind] = new_plan["replicas"]["tp"][0, : new_plan["n_replicas"][0]].tolist()
    assert made == {"calm": [4, 4], "restless": [1] * 8}


def test_autopoiesis_asks_for_a_plan_only_when_a_better_one_is_to_be_had():
    hardware = cluster(gpus=8, rates=((1, 1.0), (4, 6.0)), start_s=20.0)
    assert moving(caller("autopoiesis"), hardware, plan_of(*[1] * 8), [6.0] * 9)[-1]
    assert not any(moving(caller("autopoiesis"), hardware, plan_of(4, 4), [6.0] * 9))


@pytest.mark.parametrize("name", ["hermes_lstf", "igtcache"])
def test_both_engines_agree_over_many_calls(name):
    said = []
    for engine in ENGINES:
        policy, fleet = caller(name, engine), instances(1)
        if name == "igtcache":
            said.append([released(policy, fleet, k % 5, 512 * (k % 2)) for k in range(60)])
        else:
            calls = [
                request(class_id=1, workflow_done_calls=k % 5, workflow_served_s=3.0 * (k % 5))
                for k in range(60)
            ]
            said.append([policy.priority(call, fleet) for call in calls])
    np.testing.assert_array_equal(said[0], said[1])
