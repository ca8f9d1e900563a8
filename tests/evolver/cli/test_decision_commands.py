"""Decisions of a host are listed, and made again by any process from what it kept."""

import asyncio
from functools import partial

import pytest

from sandbox.policies import default_text
from serving_adapter.activation import prepare_policy
from serving_adapter.decision_ring import DecisionRing, newest
from serving_adapter.facts import RequestFacts
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceFacts, InstanceTable
from serving_adapter.policy_files import KeptPolicy, keep_policy, kept_policy

FACTS = RequestFacts(arrived_s=0.0, prompt_tokens=100)


async def decided(state) -> str:
    """A host made some decisions; the id of the last."""
    table = InstanceTable()
    for _ in range(3):
        table.add(InstanceFacts(prefill_tokens_per_s=1e4, step_base_s=0.01))
    host = PolicyHost(table, prepare=partial(prepare_policy, engine="interpreted"), state=state)
    await host.swap(default_text(), 4)
    keep_policy(state, host.live.digest, KeptPolicy(default_text(), {}, approved=True))
    async with host.running():
        for _ in range(5):
            decision = host.route(FACTS)
            table.dispatch(decision.instance_id, FACTS, host.now_s())
    return decision.id


@pytest.fixture
def state(home):
    return home / "hosts" / "default"


def test_a_live_decision_is_made_again_bit_for_bit(evolver, state):
    name = asyncio.run(decided(state))
    listed = evolver("decision", "list", "-o", "json").json["decisions"]
    assert (listed[0]["decision"], len(listed)) == (name, 5)
    assert name in evolver("decision", "list").out
    replayed = evolver("decision", "replay", name, "-o", "json")
    (asked,) = replayed.json["asked"]
    assert [(one["engine"], one["same"]) for one in asked["again"]] == [
        ("compiled", True), ("interpreted", True)]  # fmt: skip
    assert (replayed.code, asked["choice"], len(asked["rows"])) == (0, listed[0]["choice"], 3)
    assert "(chosen)" in evolver("decision", "replay", name).out


def test_one_that_comes_out_otherwise_ends_with_1(evolver, state):
    asyncio.run(decided(state))
    (kept,) = newest(state / "decisions", 1)
    changed = kept.given._replace(choice=(kept.given.choice + 1) % 3, number=99)
    ring = DecisionRing(state / "decisions", "f" * 12, set)
    with ring.running():
        ring.add(changed)
    replayed = evolver("decision", "replay", "f" * 12 + "-99")
    assert (replayed.code, "NO" in replayed.out) == (1, True)


@pytest.mark.parametrize("word", ["nonsense", "0123456789ab-1", "0123456789ab-x"])
def test_what_is_not_kept_is_said(evolver, state, word):
    state.mkdir(parents=True)
    assert evolver("decision", "replay", word).code == 1
    assert "No decision input" in evolver("decision", "list").out


@pytest.mark.parametrize(
    "change",
    [{"memory": bytes(8)}, {"request": b""}, {"rows": bytes(100)}, {"rotation": -(2**40)},
     {"rotation": 3}, {"fuel": 2**62}],
    ids=["memory", "request", "instances", "before", "beyond", "fuel"],
)  # fmt: skip
def test_a_made_up_input_reaches_no_machine_code(evolver, state, change):
    asyncio.run(decided(state))
    (kept,) = newest(state / "decisions", 1)
    ring = DecisionRing(state / "decisions", "f" * 12, set)
    with ring.running():
        ring.add(kept.given._replace(number=99, **change))
    replayed = evolver("decision", "replay", "f" * 12 + "-99")
    assert (replayed.code, "damaged" in replayed.out + replayed.err) == (1, True)
    assert "f" * 12 not in evolver("decision", "list").out


def test_a_kept_policy_of_another_form_is_none(state):
    folder = state / "policies"
    folder.mkdir(parents=True)
    for number, text in enumerate(('{"schema":1,"source":"","approved":true,"parameters":[]}',
                                   '{"schema":1,"source":"","approved":true,"parameters":{"x":1%s}}'
                                   % ("0" * 400))):  # fmt: skip
        (folder / f"{number:064x}.json").write_text(text)
        assert kept_policy(state, f"{number:064x}") is None
