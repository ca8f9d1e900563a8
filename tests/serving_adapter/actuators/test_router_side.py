"""The gateway as the router of a fleet: replicas come, drain under traffic, and go."""

import asyncio

from sandbox import contract
from serving_adapter.actuators.replicas import ReplicaSpec
from serving_adapter.actuators.router_side import GatewayRouter

LONG = {"max_tokens": 2000, "stream": True}


async def test_a_draining_engine_finishes_what_it_has_and_gets_nothing(stand, serve, new_emulator):
    gate = await stand()
    router = GatewayRouter(gate.gateway)
    urls = [await serve(new_emulator().application()) for _ in range(2)]
    await router.add("a", urls[0], ReplicaSpec())
    long = await gate.ask(**LONG)
    await router.add("b", urls[1], ReplicaSpec())
    await router.drain("a")
    assert (router.inside("a"), router.added()) == (1, {"b"})
    assert gate.host.table.row(router.instance_id("a"))["draining"]
    names = [(await gate.ask()).headers["X-Evolver-Instance"] for _ in range(4)]
    assert set(names) == {str(router.instance_id("b"))}  # a scrape does not open it again, either
    assert (await long.read()).endswith(b"[DONE]\n\n")
    async with asyncio.timeout(5):
        while router.inside("a"):
            await asyncio.sleep(0.001)
    await router.remove("a")
    assert (await gate.ask()).status == 200


async def test_without_another_engine_a_draining_one_is_no_fallback(stand, serve, new_emulator):
    gate = await stand()
    router = GatewayRouter(gate.gateway)
    await router.add("a", await serve(new_emulator().application()), ReplicaSpec())
    await router.drain("a")
    assert (await gate.ask()).status == 503
    await router.add("a", "", ReplicaSpec())
    assert (await gate.ask()).status == 200


async def test_a_change_shows_in_the_rows_that_policies_see(stand, serve, new_emulator):
    gate = await stand()
    router = GatewayRouter(gate.gateway)
    await router.add("a", await serve(new_emulator().application()), ReplicaSpec())
    spec = ReplicaSpec(role=contract.PREFILL, length_low_tokens=512, share=(0.5,) * 8)
    await router.change("a", spec)
    row = gate.host.table.row(router.instance_id("a"))
    assert (row["role"], row["length_low_tokens"], row["share"]) == (contract.PREFILL, 512, 0.5)
