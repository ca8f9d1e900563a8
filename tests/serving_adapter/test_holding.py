"""Held requests: asked again in order, and never for longer than allowed."""

import asyncio

from serving_adapter.decision import Author, Outcome
from serving_adapter.facts import RequestFacts
from serving_adapter.holding import HoldQueue

FACTS = RequestFacts(arrived_s=0.0, prompt_tokens=1)


async def test_a_held_request_goes_when_the_policy_lets_it(new_host):
    host = new_host()
    await host.swap("hold", 1)
    queue = HoldQueue(host)
    waiting = asyncio.create_task(queue.wait(FACTS, frozenset()))
    await asyncio.sleep(0)
    queue.capacity_changed()
    await asyncio.sleep(0)
    still_held = len(queue)
    await host.swap("last", 2)
    queue.capacity_changed()
    decision = await waiting
    assert (still_held, len(queue)) == (1, 0)
    assert (decision.outcome, decision.sequence) == (Outcome.ROUTED, 2)


async def test_after_the_longest_hold_the_built_in_decides(new_host):
    clock = [0.0]
    host = new_host(clock=lambda: clock[0])
    await host.swap("hold", 1)
    queue = HoldQueue(host, max_hold_s=5.0)
    waiting = asyncio.create_task(queue.wait(FACTS, frozenset()))
    await asyncio.sleep(0)
    clock[0] = 5.0
    queue.capacity_changed()
    decision = await waiting
    assert (decision.author, decision.outcome) == (Author.BUILT_IN, Outcome.ROUTED)


async def test_a_client_that_leaves_is_forgotten(new_host):
    host = new_host()
    await host.swap("hold", 1)
    queue = HoldQueue(host)
    waiting = asyncio.create_task(queue.wait(FACTS, frozenset()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert len(queue) == 0
