"""Plans carried out on a fleet in memory: order, cost, faults, cancelling, and the way back."""

import asyncio
from dataclasses import replace

import pytest

from sandbox import contract
from serving_adapter.actuators.carrying_out import StepwiseActuator
from serving_adapter.actuators.protocol import Limits, Step
from serving_adapter.actuators.replicas import PoolSpec, ReplicaSpec, Shape
from serving_adapter.errors import PlanRefused

ONE, TWO = ReplicaSpec(), ReplicaSpec(shape=Shape(tp=2))
PREFILL, DECODE = ReplicaSpec(role=contract.PREFILL), ReplicaSpec(role=contract.DECODE)


def actuator_of(fleet, **limits):
    return StepwiseActuator(fleet, Limits(**{"poll_s": 0.0, **limits}))


async def test_new_serve_before_old_go_and_equal_ones_stay(memory_fleet):
    fleet = memory_fleet.of(ONE, ONE)
    fleet.running["r2"] = 3
    seen = []
    outcome = await actuator_of(fleet).apply([ONE, TWO], seen.append)
    steps = [(one.step, one.replica) for one in seen]
    assert (outcome.done, fleet.floor_kept, set(fleet.serving())) == (True, True, {"r1", "r3"})
    assert steps == [
        (Step.START, "r3"), (Step.READY, "r3"), (Step.ADD, "r3"),
        (Step.DRAIN, "r2"), (Step.DRAINED, "r2"), (Step.STOP, "r2"),
    ]  # fmt: skip
    assert [r.spec for r in outcome.replicas] == [ONE, TWO]
    assert outcome.steps == tuple(seen)
    assert outcome.cost.seconds >= outcome.cost.extra_replica_s > 0
    assert (outcome.cost.lost_cache_tokens, outcome.cost.cut_requests) == (100, 0)


async def test_without_room_for_both_plans_replicas_are_exchanged_one_by_one(memory_fleet):
    fleet = memory_fleet.of(ONE, ONE, ONE, pools=(PoolSpec(gpu="H100", gpus=4),))
    outcome = await actuator_of(fleet).apply([TWO, TWO])
    assert (outcome.done, fleet.floor_kept) == (True, True)
    assert list(fleet.serving().values()) == [TWO, TWO]
    assert outcome.cost.extra_gpu_s == 0


async def test_a_role_changes_in_place_once_the_others_serve(memory_fleet):
    fleet = memory_fleet.of(ONE, flips=True)
    outcome = await actuator_of(fleet).apply([PREFILL, DECODE])
    assert (outcome.done, fleet.floor_kept) == (True, True)
    assert [one.step for one in outcome.steps][-1] is Step.CHANGE
    assert fleet.serving() == {"r1": PREFILL, "r2": DECODE}


async def test_one_that_was_starting_is_waited_for(memory_fleet):
    fleet = memory_fleet.of(ONE, looks_until_ready=3)
    fleet.looks["r1"], fleet.added = 0, set()
    outcome = await actuator_of(fleet).apply([ONE])
    assert (outcome.done, set(fleet.serving())) == (True, {"r1"})


@pytest.mark.parametrize("verb", ["start", "add", "drain"])
async def test_a_step_that_fails_leaves_the_former_plan(memory_fleet, verb):
    fleet = memory_fleet.of(ONE, ONE)
    fleet.failing[verb, "r2" if verb == "drain" else "*"] = 1
    outcome = await actuator_of(fleet).apply([TWO, TWO])
    assert (outcome.done, outcome.restored, fleet.floor_kept) == (False, True, True)
    assert f"{verb} " in outcome.reason
    assert fleet.serving() == {"r1": ONE, "r2": ONE}


async def test_what_is_never_ready_is_taken_back(memory_fleet):
    fleet = memory_fleet.of(ONE)
    fleet.looks_until_ready = 10**9
    fleet.looks["r1"] = 10**9
    outcome = await actuator_of(fleet, ready_s=0.05).apply([TWO])
    assert "not ready within" in outcome.reason
    assert list(fleet.replicas) == ["r1"]


async def test_what_was_stopped_already_is_started_anew(memory_fleet):
    fleet = memory_fleet.of(ONE, ONE, ONE, pools=(PoolSpec(gpu="H100", gpus=4),))
    fleet.failing["drain", "r3"] = 1
    outcome = await actuator_of(fleet).apply([TWO, TWO])
    assert (outcome.done, outcome.restored, fleet.floor_kept) == (False, True, True)
    assert list(fleet.serving().values()) == [ONE, ONE, ONE]


async def test_a_verb_that_hangs_is_bounded(memory_fleet):
    fleet = memory_fleet.of(ONE)
    fleet.hanging.add("add")
    outcome = await actuator_of(fleet, step_s=0.05).apply([ONE, ONE])
    assert (outcome.done, list(fleet.serving())) == (False, ["r1"])


async def test_a_request_that_never_ends_is_cut_after_the_limit_and_counted(memory_fleet):
    fleet = memory_fleet.of(ONE, ONE)
    fleet.running["r2"] = 10**9
    outcome = await actuator_of(fleet, drain_s=0.05).apply([ONE])
    assert (outcome.done, outcome.cost.cut_requests > 0) == (True, True)


async def test_one_that_served_and_does_not_say_what_it_runs_has_its_time(memory_fleet):
    fleet = memory_fleet.of(ONE, ONE)
    usual, silent = fleet.state, {"r2": 5}

    async def state(name):
        silent[name] = silent.get(name, 0) - 1
        found = await usual(name)
        return replace(found, running_requests=-1) if silent[name] >= 0 else found

    fleet.state = state
    outcome = await actuator_of(fleet).apply([ONE])
    assert (outcome.done, silent["r2"], outcome.cost.cut_requests) == (True, -1, 0)


async def test_old_ones_are_not_stopped_when_the_new_died_meanwhile(memory_fleet):
    fleet = memory_fleet.of(ONE)

    def kill_what_was_added(progress):
        if progress.step is Step.ADD:
            del fleet.replicas[progress.replica]

    outcome = await actuator_of(fleet).apply([TWO], kill_what_was_added)
    assert (outcome.done, "Nobody" in outcome.reason) == (False, True)
    assert list(fleet.serving()) == ["r1"]


async def test_a_second_plan_waits_its_turn(memory_fleet):
    fleet = memory_fleet.of(ONE)
    actuator = actuator_of(fleet)
    first = asyncio.create_task(actuator.apply([TWO]))
    await asyncio.sleep(0)
    with pytest.raises(PlanRefused, match="Another plan"):
        await actuator.apply([ONE])
    assert (await first).done


@pytest.mark.parametrize("again", [False, True])
async def test_cancelling_at_any_moment_leaves_the_former_plan(memory_fleet, again):
    done = cancelled = 0
    for turns in range(60):
        fleet = memory_fleet.of(ONE, ONE, pools=(PoolSpec(gpu="H100", gpus=3),))
        task = asyncio.create_task(actuator_of(fleet).apply([TWO]))
        for _ in range(turns):
            await asyncio.sleep(0)
        for _ in range(1 + again):
            task.cancel()
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            ended = (await asyncio.gather(task, return_exceptions=True))[0]
        if isinstance(ended, asyncio.CancelledError):
            cancelled += 1
            assert list(fleet.serving().values()) == [ONE, ONE]
        else:
            done += 1
            assert (ended.done, list(fleet.serving().values())) == (True, [TWO])
        assert fleet.floor_kept
        assert set(fleet.serving()) == set(fleet.replicas)
    assert done
    assert cancelled > 20


async def test_a_fleets_own_fault_is_taken_back_and_passed_on(memory_fleet):
    fleet = memory_fleet.of(ONE)

    async def broken(name):
        raise ZeroDivisionError

    fleet.add = broken
    with pytest.raises(BaseExceptionGroup):
        await actuator_of(fleet).apply([TWO])
    assert list(fleet.replicas) == ["r1"]
