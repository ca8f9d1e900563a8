"""Order, admission and budget by the live policy; what a faulty one leaves is the engine's own."""

import pytest

from serving_adapter.decision import BUILT_IN_DIGEST, Arm
from serving_adapter.engine_hooks.asker import arm_of

LONGEST = '"""Longest first."""\n\ndef priority(request, instance, memory):\n' \
          "    return -1.0 * request.prompt_tokens\n"  # fmt: skip
LATER = '"""Faults on the prompt of 13 tokens."""\n\ndef priority(request, instance, memory):\n' \
        "    return 1.0 / (request.prompt_tokens - 13)\n"  # fmt: skip
INFINITE = '"""Overflows on the prompt of 13 tokens."""\n\n' \
           "def priority(request, instance, memory):\n" \
           "    return INF if request.prompt_tokens == 13 else 1.0\n"  # fmt: skip
SMALL_ONLY = '"""Admits small ones."""\n\ndef admit(request, instance, memory):\n' \
             "    memory[0] += 1.0\n    return request.prompt_tokens < 100\n"  # fmt: skip
FEW = '"""Two in the batch."""\n\ndef admit(request, instance, memory):\n' \
      "    return instance.running_requests < 2\n"  # fmt: skip
NOBODY = '"""Admits nobody."""\n\ndef admit(request, instance, memory):\n    return False\n'
TUNES = '"""Raises its budget at every tick."""\n\ndef tune(instance, memory):\n' \
        "    memory[0] += 100.0\n    set_token_budget(instance, int(memory[0]))\n"  # fmt: skip


async def test_queue_and_batch_are_ordered_and_equals_stay_as_they_are(bench, shortest):
    one = bench()
    one.wait(30, 10, 20, 10)
    one.engine.running, one.engine.waiting = one.engine.waiting[:2], one.engine.waiting[2:]
    assert one.order() is None
    await one.host.swap(shortest, 1)
    assert one.order() == [10, 20]
    assert [job.prompt_tokens for job in one.engine.running] == [10, 30]
    one.wait(10, 5)
    assert one.order() == [5, 10, 10, 20]
    assert [job.name for job in one.engine.waiting[1:3]] == ["3-10", "4-10"]


async def test_keys_are_asked_for_when_a_request_comes_and_on_the_tick(bench, shortest):
    one = bench()
    await one.host.swap(shortest, 1)
    one.wait(3, 2)
    one.order()
    one.order()
    one.wait(1)
    one.order()
    one.now_s[0] = 0.3
    one.order()
    assert [line["requests"] for line in one.lines()] == [2, 1, 3]


async def test_another_policy_keys_everybody_anew_at_once(bench, shortest):
    one = bench()
    await one.host.swap(shortest, 1)
    one.wait(3, 1, 2)
    one.order()
    await one.host.swap(LONGEST, 2)
    assert one.order() == [3, 2, 1]
    assert [line["sequence"] for line in one.lines()] == [1, 2]


@pytest.mark.parametrize("faulty", [LATER, INFINITE])
async def test_a_fault_is_answered_by_the_last_good_in_the_same_step(
    bench, shortest, faulty, signed_policy
):
    one = bench()
    await one.host.swap(shortest, 1)
    await one.host.swap(faulty, 2)
    one.wait(30, 13, 20)
    assert one.order() == [13, 20, 30]
    (line,) = one.lines()
    assert (line["author"], line["sequence"]) == ("last_good", 2)
    assert line["digest"] == signed_policy(shortest).digest
    assert [ejection.digest for ejection in one.host.slot.latched] == [signed_policy(faulty).digest]
    assert one.host.recent[-1].fault


async def test_without_a_policy_left_it_is_first_come_first_served_again(bench):
    one = bench()
    await one.host.swap(LATER, 1)
    one.wait(30, 20, 99)
    assert one.order() == [99, 30, 20]
    one.wait(13)
    assert one.order() == [30, 20, 99, 13]
    assert one.order() is None
    assert (one.lines()[-1]["author"], one.lines()[-1]["digest"]) == ("built_in", BUILT_IN_DIGEST)


async def test_a_policy_without_the_hook_leaves_the_order_to_the_engine(bench, shortest):
    one = bench()
    await one.host.swap(shortest, 1)
    one.wait(30, 10)
    assert one.order() == [10, 30]
    await one.host.swap(SMALL_ONLY, 2)
    assert one.order() == [30, 10]
    assert one.order() is None


async def test_the_kill_switch_gives_the_queue_back(bench, shortest, tmp_path):
    one = bench(state=tmp_path)
    await one.host.swap(shortest, 1)
    one.wait(30, 10)
    assert one.order() == [10, 30]
    (tmp_path / "kill").touch()
    one.host.slot.look()
    assert one.order() == [30, 10]


async def test_the_queue_runs_up_to_the_first_that_is_not_admitted(bench):
    one = bench()
    one.wait(10, 20, 500, 30)
    assert one.admitted() == 4
    await one.host.swap(SMALL_ONLY, 1)
    assert one.admitted() == 2
    assert one.admitted(seats=1) == 1


async def test_each_that_is_admitted_counts_for_the_next(bench):
    one = bench()
    await one.host.swap(FEW, 1)
    one.wait(1, 1, 1, 1)
    assert one.admitted() == 2


async def test_the_last_word_on_the_head_stands_until_the_batch_changes(bench):
    one = bench()
    await one.host.swap(SMALL_ONLY, 1)
    one.wait(1, 500)
    one.engine.running.append(one.engine.waiting.pop(0))
    memory = one.host.live.active.memory
    assert [one.admitted() for _ in range(3)] == [0, 0, 0]
    assert memory[0] == 1
    one.engine.running.clear()
    assert one.admitted() == 0
    assert memory[0] == 2


async def test_who_waits_for_something_else_takes_no_seat(bench):
    one = bench()
    await one.host.swap(SMALL_ONLY, 1)
    one.wait(1, 2, 3)
    assert one.admitted(seats=1) == 1
    assert one.admitted(seats=1, blocked=tuple(one.engine.waiting[:1])) == 2


async def test_a_policy_that_admits_nobody_is_out_after_a_second_of_idling(bench):
    one = bench()
    await one.host.swap(NOBODY, 1)
    one.wait(10, 20)
    assert one.admitted() == 0
    one.now_s[0] = 0.9
    assert one.admitted() == 0
    one.now_s[0] = 1.1
    assert one.admitted() == 2
    assert [ejection.kind for ejection in one.host.slot.latched] == ["stall"]


async def test_the_budget_is_asked_for_on_the_control_tick_and_goes_with_the_policy(
    bench, shortest
):
    one = bench()

    def budget() -> int | None:
        one.hooks.begin_step()
        return one.hooks.token_budget()

    assert budget() is None
    await one.host.swap(TUNES, 1)
    assert [budget(), budget()] == [100, 100]
    one.now_s[0] = 1.5
    assert budget() == 200
    await one.host.swap(shortest, 2)
    assert budget() is None


async def test_a_canary_decides_in_the_engines_that_draw_it(
    bench, snapshot_of, shortest, signed_policy
):
    canary = signed_policy(LONGEST)
    names = [f"engine-{number}" for number in range(20)]
    arms = {name: arm_of(name, canary.digest, 0.3) for name in names}
    assert set(arms.values()) == set(Arm)
    drawn = [name for name in names if arms[name] is Arm.POLICY]
    assert all(arm_of(name, canary.digest, 0.5) is Arm.POLICY for name in drawn)
    other = next(name for name in names if name not in drawn)
    for name, expected in ((drawn[0], [2, 1]), (other, [1, 2])):
        one = bench(name)
        await one.host.apply(snapshot_of(1, signed_policy(shortest), canary=(canary, 0.3)))
        one.wait(2, 1)
        assert one.order() == expected


async def test_a_faulty_canary_leaves_its_engine_to_the_active_policy(
    bench, snapshot_of, shortest, signed_policy
):
    one = bench()
    canary = signed_policy(LATER)
    await one.host.apply(snapshot_of(1, signed_policy(shortest), canary=(canary, 1.0)))
    one.wait(20, 13, 2)
    assert one.order() == [2, 13, 20]
    assert one.host.live.canary is None
    assert one.host.live.active is not None
