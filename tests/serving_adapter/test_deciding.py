"""One decision: exact answers only, whatever a policy raises, and arms that skip the policy."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from serving_adapter.activation import Ready
from serving_adapter.decision import Arm, Author
from serving_adapter.errors import SideProcessAway, SideProcessDied, SideProcessSlow
from serving_adapter.facts import RequestFacts
from serving_adapter.safety.ejection import EjectionKind
from serving_adapter.safety.limits import LiveLimits

LATE = SideProcessSlow("computing", busy_s=1.0)
FACTS = RequestFacts(arrived_s=0.0, prompt_tokens=100)


class Answers:
    """A router that answers, or raises, what it was given."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def route(self, request, instances, memory, rotation, fuel):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Whole(int):
    """An integer that is none."""


@pytest.fixture
def host_of(new_host):
    async def build(*answers, **options):
        ready = Ready("a" * 64, Answers(*answers))
        host = new_host(prepare=lambda source, parameters: ready, **options)
        await host.swap("", 1)
        return host

    return build


@pytest.mark.parametrize(
    "answer",
    [True, 0.0, Whole(0), np.int64(0), None, "0", 3, -4, 2**63, 2**200, float("nan")],
    ids=repr,
)
async def test_only_a_plain_whole_number_that_names_a_row_is_an_answer(host_of, answer):
    host = await host_of(answer)
    decision = host.route(FACTS)
    assert (decision.author, decision.reason) == (Author.BUILT_IN, "invalid-choice")
    assert host.slot.latched[0].kind is EjectionKind.ERROR


@pytest.mark.parametrize(
    "raised",
    [SystemExit(0), GeneratorExit(), asyncio.CancelledError(), MemoryError(), RecursionError(),
     StopIteration(), BaseException()],
    ids=repr,
)  # fmt: skip
async def test_whatever_a_policy_raises_ejects_it_and_the_request_is_served(host_of, raised):
    host = await host_of(raised)
    decision = host.route(FACTS)
    assert (decision.author, decision.reason) == (Author.BUILT_IN, type(raised).__name__)
    assert host.live.active is None


def test_an_operators_interrupt_ends_the_loop_and_blames_no_policy(host_of):
    served = []

    async def decide():
        host = await host_of(KeyboardInterrupt())
        served.append((host.route(FACTS).author, host.live.active is not None))
        await asyncio.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(decide())
    assert served == [(Author.BUILT_IN, True)]


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (SideProcessAway("away"), SideProcessAway("away"), None),
        (SideProcessDied("dead"), SideProcessDied("dead", final=True), EjectionKind.CRASH),
        (LATE, LATE, EjectionKind.SLOW),
        (SideProcessSlow("not let run"), SideProcessSlow("not let run"), None),
    ],
    ids=["away", "died", "slow", "not let run"],
)  # fmt: skip
async def test_a_side_process_costs_a_fallback_first_and_its_place_second(
    host_of, first, second, kind
):
    host = await host_of(first, second)
    decisions = [host.route(FACTS)]
    assert host.live.active is not None
    decisions.append(host.route(FACTS))
    assert [one.author for one in decisions] == [Author.BUILT_IN] * 2
    assert [one.kind for one in host.slot.latched] == ([kind] if kind else [])


async def test_a_request_of_the_control_arm_skips_the_policy_and_says_so(host_of):
    host = await host_of(0, limits=LiveLimits(control_share=0.5))
    decisions = [host.route(replace(FACTS, session=number)) for number in range(100)]
    assert {(one.arm, one.author) for one in decisions} == {
        (Arm.POLICY, Author.ACTIVE), (Arm.CONTROL, Author.BUILT_IN)}  # fmt: skip
    assert {one.compared for one in decisions} == {"a" * 64}


async def test_the_last_good_policy_is_the_control_where_there_is_one(new_host, word_digest):
    host = new_host(limits=LiveLimits(control_share=0.5))
    await host.swap("first", 1)
    await host.swap("last", 2)
    decisions = [host.route(replace(FACTS, session=number)) for number in range(50)]
    assert {(one.arm, one.instance_id) for one in decisions} == {
        (Arm.POLICY, 2), (Arm.CONTROL, 0)}  # fmt: skip
    assert {one.compared for one in decisions} == {word_digest("last")}


async def test_without_a_policy_there_are_no_arms(new_host):
    host = new_host(limits=LiveLimits(control_share=0.5))
    assert {host.route(replace(FACTS, session=n)).arm for n in range(20)} == {Arm.NONE}
