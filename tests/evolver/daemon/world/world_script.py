"""A control plane that is a script: what a person would do who watches one canary after another.

It files one known improvement and then only reads what hosts report, so that a world can be tried
without a daemon.
"""

import asyncio

from world_policies import file_measured

from evolver.cli.publishing import publish
from evolver.library import read
from policy_store.errors import StoreError
from policy_store.lifecycle import State
from policy_store.records import Alias
from policy_store.rule_application import apply_rules

LOOKS_EVERY_S = 2.0
BY = "script"
BETTER, WORSE = "better", "worse"


async def run_script(world):
    """For ever; cancel to stop."""
    await asyncio.to_thread(_file_improvement, world)
    while True:
        await asyncio.sleep(LOOKS_EVERY_S)
        said = await asyncio.to_thread(_look, world)
        if said:
            world.tell(said)


def _file_improvement(world):
    with world.store() as store:
        digest = file_measured(store, read("least_loaded"), "least_loaded")
        applied = apply_rules(store, digest)
        publish(store, world.home, world.key)
    world.tell(applied.said)


def _look(world):
    with world.store() as store:
        said = _ejected(store) or _judged(store)
        if said:
            publish(store, world.home, world.key)
        return said


def _ejected(store):
    for host in store.hosts():
        for one in host.ejections:
            try:
                if store.show(one.digest).version.state is not State.EJECTED:
                    store.eject(one.digest, BY, f"{host.host} ejected it: {one.reason}", one.kind)
                    return f"took {one.digest[:12]} out everywhere: {one.kind}"
            except StoreError:
                continue
    return ""


def _judged(store):
    canary = store.slot(Alias.CANARY)
    for host in store.hosts():
        facts = host.facts
        if canary.digest is None or facts.get("canary") != canary.digest:
            continue
        words = ", ".join(f"{name} {facts[name]}" for name in sorted(facts) if "canary" in name)
        if facts["canary_standing"] == BETTER:
            store.activate(canary.digest, store.slot().sequence, BY, f"proven better: {words}")
            return f"promoted {canary.digest[:12]}"
        if facts["canary_standing"] == WORSE:
            store.reject(canary.digest, BY, f"proven worse: {words}")
            return f"rolled {canary.digest[:12]} back"
    return ""
