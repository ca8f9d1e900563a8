"""The library's policies are admitted, say whose idea they are, and decide as that idea says."""

import ast
import math
import re

import pytest
from policy_rows import caller, cluster, instances, plan_of, planned, request, rows, source, window

from evolver import library
from sandbox import contract

DAY_S = 86_400.0


@pytest.mark.parametrize("name", library.names())
def test_every_policy_is_admitted(name):
    assert source(name).hooks


@pytest.mark.parametrize("name", library.systems())
def test_a_system_names_its_paper_and_what_is_inferred(name):
    claim = ast.get_docstring(ast.parse(library.read(name)))
    named = r"arXiv \d{4}\.\d{5}|OpenReview \w+|Published as code: \S+/\S+"
    assert re.search(named, claim)
    assert "Taken" in claim
    assert "Inferred" in claim


@pytest.mark.parametrize("name", library.baselines())
def test_a_baseline_says_its_idea(name):
    assert "The idea is" in source(name).claim


@pytest.mark.parametrize("name", library.names())
def test_nothing_of_a_docstring_is_cut_off(name):
    claim = ast.get_docstring(ast.parse(library.read(name)))
    assert source(name).claim == claim


@pytest.mark.parametrize("name", library.names())
def test_every_constant_has_a_written_range_and_they_are_few(name):
    text = library.read(name)
    constants = re.findall(r"^([A-Z][A-Z_0-9]*) = ", text, re.MULTILINE)
    ranged = re.findall(r"^([A-Z][A-Z_0-9]*) = \S+  # tune: ", text, re.MULTILINE)
    assert constants == ranged == [t.name for t in source(name).tunables]
    assert len(constants) <= 7


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(KeyError, match="least_loaded"):
        library.read("../secrets")


@pytest.mark.parametrize("engine", ["interpreted", "compiled"])
def test_round_robin_takes_turns_whatever_the_order_of_the_rows(engine):
    policy, fleet = caller("round_robin", engine), instances(3)
    turns = [policy.route(request(), fleet, rotation=k % 3) for k in range(6)]
    assert turns == [10, 17, 24, 10, 17, 24]


@pytest.mark.parametrize("engine", ["interpreted", "compiled"])
def test_least_loaded_counts_a_waiting_request_as_several(engine):
    fleet = instances(3, queued_requests=[1, 0, 0], running_requests=[0, 3, 5])
    assert caller("least_loaded", engine).route(request(), fleet) == 17


def test_least_loaded_takes_the_first_row_on_a_tie():
    assert caller("least_loaded").route(request(), instances(3), rotation=2) == 24


def test_power_of_two_never_takes_the_worst_and_spreads_over_the_others():
    fleet = instances(4, running_requests=[9, 1, 1, 1])
    policy = caller("power_of_two")
    chosen = {policy.route(request(seed=seed), fleet) for seed in range(200)}
    assert chosen == {17, 24, 31}


def test_least_predicted_completion_prefers_a_fast_gpu_to_a_short_queue():
    fleet = instances(2, queued_prompt_tokens=[0, 500], step_base_s=[0.05, 0.01])
    assert caller("least_predicted_completion").route(request(), fleet) == 17


def test_least_predicted_completion_keeps_away_from_full_kv():
    fleet = instances(2, queued_prompt_tokens=[0, 1000], kv_used_tokens=[99_000, 1000])
    assert caller("least_predicted_completion").route(request(), fleet) == 17


def test_prefix_affinity_follows_the_cache_until_loads_are_uneven():
    policy = caller("prefix_affinity")
    even = instances(2, cached_prefix_tokens=[0, 900], running_requests=[2, 10])
    uneven = instances(2, cached_prefix_tokens=[0, 900], running_requests=[2, 60])
    assert [policy.route(request(), even), policy.route(request(), uneven)] == [17, 10]


def test_prefix_affinity_follows_the_session_where_caches_cannot_be_seen():
    fleet = instances(2, running_requests=[0, 3])
    assert caller("prefix_affinity").route(request(last_instance=17), fleet) == 17


def test_shortest_predicted_first_runs_the_short_before_the_long_until_it_has_waited():
    policy, engine = caller("shortest_predicted_first"), instances(1)
    short = policy.priority(request(predicted_output_tokens=20.0), engine)
    long = policy.priority(request(predicted_output_tokens=500.0), engine)
    waited = policy.priority(request(predicted_output_tokens=500.0, age_s=600.0), engine)
    assert waited < short < long


@pytest.mark.parametrize("name", ["static_plan", "periodic_replanning", "threshold_trigger"])
def test_an_empty_plan_is_filled_with_what_sustains_most(name):
    assert planned(name, window(), cluster(gpus=10), plan_of()) == ([4, 4, 1, 1], False)


@pytest.mark.parametrize("name", ["static_plan", "periodic_replanning", "threshold_trigger"])
def test_gpus_about_to_leave_are_planned_without(name):
    assert planned(name, window(), cluster(leaving=3), plan_of())[0] == [4, 1]


def test_a_static_plan_keeps_its_shapes_and_loses_only_what_no_longer_fits():
    assert planned("static_plan", window(plan_feasible=False), cluster(4), plan_of(2, 1, 1, 4)) == (
        [1, 1, 1, 1],
        False,
    )


def test_a_static_plan_is_not_touched_by_traffic():
    policy = caller("static_plan")
    assert not policy.should_reschedule(
        window(rate_rps=400.0, since_plan_s=DAY_S), cluster(), plan_of(4, 4)
    )


def test_periodic_replanning_comes_round():
    policy = caller("periodic_replanning")
    answers = [
        policy.should_reschedule(window(since_plan_s=since), cluster(), plan_of(4))
        for since in (0.0, 299.0, 300.0)
    ]
    assert answers == [False, False, True]


def test_the_threshold_trigger_waits_for_a_lasting_change_and_then_calms_down():
    policy, plan = caller("threshold_trigger"), plan_of(4)
    policy.should_reschedule(window(capacity_changed=True), cluster(), plan)
    rates = [4.4, 9.0, 4.0, 9.0, 9.0, 9.0]
    fired = [policy.should_reschedule(window(rate_rps=r), cluster(), plan) for r in rates]
    assert fired == [False, False, False, False, True, False]


@pytest.mark.parametrize(("start_s", "kept"), [(30.0, False), (290.0, True)])
def test_the_threshold_trigger_switches_only_if_it_pays(start_s, kept):
    hardware = cluster(rates=((1, 1.0), (4, 6.0)), start_s=start_s)
    assert planned("threshold_trigger", window(), hardware, plan_of(*[1] * 8))[1] is kept


def test_the_threshold_trigger_never_keeps_an_infeasible_plan():
    hardware = cluster(gpus=4, start_s=290.0)
    made = planned("threshold_trigger", window(plan_feasible=False), hardware, plan_of(4, 4))
    assert made == ([4], False)


def ranges_after(context_tokens):
    """Length ranges that L4 gives four replicas after it saw requests of these lengths."""
    policy, fleet = caller("l4"), instances(4)
    seen = rows(contract.Running, len(context_tokens), context_tokens=context_tokens, instance=10)
    for _ in range(20):
        policy.migrate(seen, fleet, rows(contract.Moves, 1))
    new_plan = rows(contract.Plan, 1)
    policy.schedule(window(since_plan_s=60.0), cluster(4), plan_of(1, 1, 1, 1), new_plan)
    made = new_plan["replicas"][0, : new_plan["n_replicas"][0]]
    return list(zip(made["length_low_tokens"], made["length_high_tokens"], strict=True))


def test_l4_cuts_mixed_lengths_into_stages_that_leave_no_gap():
    stages = sorted(set(ranges_after([200] * 60 + [40_000] * 4)))
    assert len(stages) > 1
    assert [low for low, _ in stages] == [0, *(high for _, high in stages[:-1])]
    assert stages[-1][1] == 2**31


def test_l4_leaves_equal_lengths_together():
    assert set(ranges_after([3000] * 64)) == {(0, 2**31)}


def test_l4_counts_requests_where_a_door_tells_no_times():
    blind = {"prefill_tokens_per_s": math.nan, "step_base_s": math.nan}
    fleet = instances(2, running_requests=[9, 2], queued_requests=[1, 0], **blind)
    assert caller("l4").route(request(), fleet) == 17


def test_ares_moves_a_long_request_from_the_full_instance_and_leaves_the_nearly_done():
    fleet = instances(
        2, role=contract.DECODE, kv_used_tokens=[95_000, 5_000], context_tokens=[95_000, 5_000]
    )
    running = rows(
        contract.Running, 2, request=[1, 2], instance=10, decoding=True, context_tokens=20_000,
        predicted_remaining_tokens=[30.0, 3000.0], transfer_s=0.05,
    )  # fmt: skip
    moves = rows(contract.Moves, 1)
    caller("ares").migrate(running, fleet, moves)
    assert moves["rows"][0, : moves["n_rows"][0]].tolist() == [(2, 17)]


def test_hexagent_runs_the_workflow_with_least_slack_first():
    policy, engine = caller("hexagent"), instances(1)
    keys = [
        policy.priority(request(workflow_horizon_s=40.0, workflow_age_s=age), engine)
        for age in (5.0, 50.0)
    ]
    assert keys[1] < keys[0]


def test_hexagent_weighs_transfer_against_waiting_for_kv():
    fleet = instances(
        2, role=contract.DECODE, transfer_s=[0.01, 0.3], decoding_requests=20,
        kv_used_tokens=[99_900, 10_000], predicted_remaining_tokens=20_000.0,
    )  # fmt: skip
    assert caller("hexagent").route_decode(request(), fleet) == 17


def test_hexagent_counts_the_wait_for_a_seat():
    fleet = instances(
        2, role=contract.DECODE, transfer_s=[0.01, 0.3], max_num_seqs=4, kv_used_tokens=10_000,
        decoding_requests=[4, 1], queued_requests=[3, 0], predicted_remaining_tokens=1000.0,
    )  # fmt: skip
    assert caller("hexagent").route_decode(request(), fleet) == 17


@pytest.mark.parametrize(("kv_used_tokens", "admitted"), [(50_000, True), (92_000, False)])
def test_echo_admits_offline_work_only_outside_the_reserve(kv_used_tokens, admitted):
    engine = instances(1, running_requests=3, kv_used_tokens=kv_used_tokens, token_budget=2048)
    policy = caller("echo")
    assert policy.admit(request(online=False), engine) is admitted
    assert policy.admit(request(online=True), engine)


def test_echo_lets_offline_work_with_the_prefix_of_the_last_pass_older_work():
    policy, engine = caller("echo"), instances(1, token_budget=2048)
    assert policy.admit(request(online=False, prefix_key=5), engine)
    keys = [
        policy.priority(request(online=online, prefix_key=key, age_s=age_s), engine)
        for online, key, age_s in ((True, 9, 0.0), (False, 5, 1.0), (False, 6, 20.0))
    ]
    assert keys == sorted(keys)


def test_echo_evicts_what_nobody_waits_for_first():
    policy, engine = caller("echo"), instances(1)
    entries = [
        rows(contract.Entry, 1, age_s=5.0, users=users, online=online)
        for users, online in ((0, False), (0, True), (3, False))
    ]
    values = [policy.evict(entry, engine) for entry in entries]
    assert values == sorted(values)


def test_hermes_learns_which_kind_of_workflow_ends_soon():
    policy, engine = caller("hermes"), instances(1)
    for _ in range(40):
        policy.priority(request(class_id=1, workflow=1, workflow_served_s=0.0), engine)
        for calls in (0, 1, 2, 4, 8):
            call = request(
                class_id=2, workflow=2, workflow_done_calls=calls, workflow_served_s=10.0 * calls
            )
            policy.priority(call, engine)
    new = [policy.priority(request(class_id=c, keyed_count=1), engine) for c in (1, 2)]
    assert new[0] < new[1]


def test_sart_stops_the_rest_once_enough_branches_have_finished():
    samples = rows(contract.Branch, 4, finished=[True, False, True, False], done_tokens=100)
    left = caller("sart").branches(request(branch_count=4), samples)
    assert (left, samples["pruned"].tolist()) == (0, [False, True, False, True])


def test_sart_prunes_a_hopeless_branch_only_after_a_trial():
    samples = rows(contract.Branch, 8, done_tokens=[50, 500] * 4, score=[0.1, 0.1] + [0.9] * 6)
    caller("sart").branches(request(branch_count=8), samples)
    assert samples["pruned"].tolist() == [False, True] + [False] * 6


@pytest.mark.parametrize(("tpot_slo_s", "low", "high"), [(0.1, 0.05, 0.1), (0.005, 0.0, 0.0)])
def test_harli_lends_only_what_the_latency_target_leaves(tpot_slo_s, low, high):
    engine = instances(
        1, role=contract.DECODE, decoding_requests=8, tpot_slo_s=tpot_slo_s, finetune_share=0.0
    )
    caller("harli").tune(engine)
    assert low <= engine["knob_finetune_share"][0] <= high


def test_oserve_gives_each_class_the_shape_that_serves_it_best():
    hardware = cluster(gpus=8, rates=((1, 1.0), (4, 4.0)))
    shapes = hardware["shapes"][0]
    shapes["class_rate_rps"][0][1:3], shapes["class_rate_rps"][1][1:3] = (2.0, 0.01), (4.0, 4.0)
    at = window()
    at["n_classes"] = 3
    at["classes"][0, 1]["class_id"], at["classes"][0, 1]["rate_rps"] = 1, 6.0
    at["classes"][0, 2]["class_id"], at["classes"][0, 2]["rate_rps"] = 2, 3.0
    tps, _ = planned("oserve", at, hardware, plan_of())
    assert sorted(tps) == [1, 1, 1, 1, 4]


def test_spotserve_takes_the_fastest_configuration_that_carries_the_load():
    hardware = cluster(gpus=8, rates=((1, 2.0), (4, 3.0)))
    calm, busy = (planned("spotserve", window(rate_rps=r), hardware, plan_of())[0] for r in (1, 9))
    assert (calm, busy) == ([4, 4], [1] * 8)


@pytest.mark.parametrize(("grace_s", "rescued"), [(20.0, 0), (3.0, 2)])
def test_spotserve_rescues_requests_as_late_as_is_safe(grace_s, rescued):
    fleet = instances(2, grace_s=[grace_s, math.nan], kv_used_tokens=[40_000, 0])
    running = rows(
        contract.Running, 2, request=[1, 2], instance=10, context_tokens=20_000,
        predicted_remaining_tokens=5000.0, transfer_s=1.0,
    )  # fmt: skip
    moves = rows(contract.Moves, 1)
    caller("spotserve").migrate(running, fleet, moves)
    assert moves["n_rows"][0] == rescued
