"""Held requests: asked again in order, and never for longer than allowed."""

import asyncio
from types import SimpleNamespace

from sandbox import contract
from serving_adapter.activation import Ready
from serving_adapter.decision import Author, Outcome
from serving_adapter.facts import RequestFacts
from serving_adapter.gateway.holding import HoldQueue

FACTS = RequestFacts(arrived_s=0.0, prompt_tokens=1)


def held_by(host, queue) -> asyncio.Task:
    """A request that the live policy holds."""
    return asyncio.create_task(queue.wait(FACTS, frozenset(), host.live, host.live.digest))


async def test_a_held_request_goes_when_the_policy_lets_it(new_host):
    answers = [contract.HOLD, 2]
    router = SimpleNamespace(route=lambda *_: answers.pop(0))
    host = new_host(prepare=lambda *_: Ready("a" * 64, router))
    await host.swap("", 1)
    queue = HoldQueue(host)
    waiting = held_by(host, queue)
    still_held = []
    for _ in range(2):
        await asyncio.sleep(0)
        queue.capacity_changed()
        await asyncio.sleep(0)
        still_held.append(len(queue))
    assert still_held == [1, 0]
    assert (await waiting).instance_id == 2


async def test_a_held_request_keeps_its_version_over_a_swap(new_host):
    host = new_host()
    await host.swap("hold", 1)
    queue = HoldQueue(host, max_hold_s=0.1)
    waiting = held_by(host, queue)
    await asyncio.sleep(0)
    await host.swap("last", 2)
    queue.capacity_changed()
    await asyncio.sleep(0)
    assert (len(queue), host.route(FACTS).sequence) == (1, 2)
    await asyncio.sleep(0.1)
    queue.capacity_changed()
    decision = await waiting
    assert (decision.author, decision.sequence) == (Author.BUILT_IN, 1)


async def test_what_is_held_is_told_by_policy(new_host):
    host = new_host()
    await host.swap("hold", 1)
    queue = HoldQueue(host)
    waiting = [held_by(host, queue) for _ in range(3)]
    await asyncio.sleep(0)
    (digest, holding), = host.watchdog.held().items()
    assert (digest, holding.count) == (host.live.digest, 3)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_after_the_longest_hold_the_built_in_decides(new_host):
    clock = [0.0]
    host = new_host(clock=lambda: clock[0])
    await host.swap("hold", 1)
    queue = HoldQueue(host, max_hold_s=5.0)
    waiting = held_by(host, queue)
    await asyncio.sleep(0)
    clock[0] = 5.0
    queue.capacity_changed()
    decision = await waiting
    assert (decision.author, decision.outcome) == (Author.BUILT_IN, Outcome.ROUTED)


async def test_a_client_that_leaves_is_forgotten(new_host):
    host = new_host()
    await host.swap("hold", 1)
    queue = HoldQueue(host)
    waiting = held_by(host, queue)
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert len(queue) == 0
