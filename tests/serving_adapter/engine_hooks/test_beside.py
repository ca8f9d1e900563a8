"""A policy on trial is asked again, by the watchdog, what another decided; it decides nothing."""

import itertools

import pytest

from serving_adapter.decision import Arm
from serving_adapter.engine_hooks.asker import arm_of
from serving_adapter.engine_hooks.beside import LOOK_S
from serving_adapter.safety.ejection import EjectionKind

LONGEST = '"""Longest first."""\n\ndef priority(request, instance, memory):\n' \
          "    return -1.0 * request.prompt_tokens\n"  # fmt: skip
DOUBLED = '"""Shortest first, by other keys."""\n\ndef priority(request, instance, memory):\n' \
          "    return 2.0 * request.prompt_tokens + 7.0\n"  # fmt: skip
FAULTY = '"""Faults on the prompt of 13 tokens."""\n\ndef priority(request, instance, memory):\n' \
         "    return 1.0 / (request.prompt_tokens - 13)\n"  # fmt: skip
ADMITS = '"""Admits those below."""\n\nBELOW_TOKENS = {below}\n\n\n' \
         "def admit(request, instance, memory):\n    memory[0] += 1.0\n" \
         "    return request.prompt_tokens < BELOW_TOKENS and memory[0] < 9.0\n"  # fmt: skip
TUNES = '"""A budget."""\n\nTOKENS = {tokens}\n\n\ndef tune(instance, memory):\n' \
        "    set_token_budget(instance, int(TOKENS))\n"  # fmt: skip
LATER = "\n\ndef tune(instance, memory):\n    set_token_budget(instance, 99)\n"


def results(one, policy):
    """What a policy said beside the deciding one, as the host's metrics and report have it."""
    metrics = one.host.metrics
    return [metrics.shadow_results(policy, answer) for answer in ("agree", "differ", "fault")]


@pytest.mark.parametrize(
    ("shadow", "said"), [(DOUBLED, [2, 0, 0]), (LONGEST, [0, 2, 0]), (TUNES, [0, 0, 0])]
)
async def test_the_order_of_a_shadow_is_compared_and_changes_nothing(
    bench, snapshot_of, shortest, signed_policy, shadow, said
):
    one, shadow = bench(), signed_policy(shadow.format(tokens=2))
    await one.host.apply(snapshot_of(1, signed_policy(shortest), shadow=shadow))
    one.wait(30, 10, 20)
    assert one.order() == [10, 20, 30]
    one.now_s[0] = 0.3  # keyed again
    assert one.order() == [10, 20, 30]
    one.order()  # nobody is asked
    one.host.watchdog.look()
    assert results(one, "shadow") == said
    report = one.host.report().shadow
    assert (report.digest, [report.agree, report.differ, report.fault]) == (shadow.digest, said)


async def test_each_admission_is_compared_as_the_policy_saw_it_in_a_memory_of_its_own(
    bench, snapshot_of, signed_policy
):
    one = bench()
    active, shadow = (signed_policy(ADMITS.format(below=below)) for below in (100, 30))
    await one.host.apply(snapshot_of(1, active, shadow=shadow))
    one.wait(10, 20, 40, 500)
    assert one.admitted() == 3
    one.host.watchdog.look()
    assert results(one, "shadow") == [3, 1, 0]
    assert one.host.live.shadow.memory[0] == 0.0


@pytest.mark.parametrize(("tokens", "said"), [(512, [1, 0, 0]), (256, [0, 1, 0])])
async def test_budgets_are_compared(bench, snapshot_of, signed_policy, tokens, said):
    one = bench()
    active, shadow = (signed_policy(TUNES.format(tokens=count)) for count in (512, tokens))
    await one.host.apply(snapshot_of(1, active, shadow=shadow))
    one.hooks.begin_step()
    assert one.hooks.token_budget() == 512
    one.host.watchdog.look()
    assert results(one, "shadow") == said


@pytest.mark.parametrize("drawn", [True, False])
async def test_active_and_canary_are_compared_in_every_engine(
    bench, snapshot_of, shortest, signed_policy, drawn
):
    canary = signed_policy(LONGEST)
    arm = Arm.POLICY if drawn else Arm.CONTROL
    names = (f"engine-{number}" for number in range(100))
    one = bench(next(name for name in names if arm_of(name, canary.digest, 0.5) is arm))
    await one.host.apply(snapshot_of(1, signed_policy(shortest), canary=(canary, 0.5)))
    one.wait(1, 2)
    assert one.order() == ([2, 1] if drawn else [1, 2])
    one.host.watchdog.look()
    other = "active" if drawn else "canary"
    assert results(one, other) == [0, 1, 0]
    page = one.registry.render()
    assert f'beside_total{{policy="{other}",hook="priority",result="differ"}} 1' in page
    assert f'evolver_engine_arm{{arm="{arm}"}} 1' in page


async def test_one_that_fails_beside_another_is_taken_out_before_anything_hangs_on_it(
    bench, snapshot_of, shortest, signed_policy
):
    one, shadow = bench(), signed_policy(FAULTY)
    await one.host.apply(snapshot_of(1, signed_policy(shortest), shadow=shadow))
    one.wait(20, 13)
    assert one.order() == [13, 20]
    one.host.watchdog.look()
    assert results(one, "shadow") == [0, 0, 1]
    (ejection,) = one.host.slot.latched
    assert (ejection.digest, ejection.kind) == (shadow.digest, EjectionKind.ERROR)
    one.now_s[0] = 0.3
    assert one.order() == [13, 20]
    one.host.watchdog.look()
    assert results(one, "shadow") == [0, 0, 1]


async def test_what_is_not_asked_in_its_time_is_not_compared(
    bench, snapshot_of, shortest, signed_policy
):
    one = bench()
    both = ADMITS.format(below=100) + shortest.partition("\n")[2]
    await one.host.apply(snapshot_of(1, signed_policy(both), shadow=signed_policy(both + LATER)))
    beside = one.hooks._asker._beside
    one.wait(40, 10, 20, 30)
    for decide, said in ((one.order, 0), (one.admitted, 2)):
        decide()
        beside._clock = itertools.count(0.0, LOOK_S / 3.5).__next__  # two questions are in time
        one.host.watchdog.look()
        assert results(one, "shadow") == [said, 0, 0]
        assert not beside._waiting


async def test_what_a_policy_faulted_in_is_compared_with_nobody(
    bench, snapshot_of, shortest, signed_policy
):
    one = bench()
    active, shadow = signed_policy(FAULTY), signed_policy(LONGEST)
    await one.host.apply(snapshot_of(1, active, shadow=shadow))
    one.wait(20, 13)
    one.order()
    one.host.watchdog.look()
    assert results(one, "shadow") == [0, 0, 0]


async def test_without_a_trial_no_row_is_copied(bench, shortest):
    one = bench()
    await one.host.swap(shortest, 1)
    one.wait(2, 1)
    one.order()
    assert not one.hooks._asker._beside.wanted
    assert not one.hooks._asker._beside._waiting
