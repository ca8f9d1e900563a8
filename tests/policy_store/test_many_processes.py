"""Several processes on one store: nothing is lost, nobody waits for ever, the laws hold."""

import threading
from concurrent.futures import ProcessPoolExecutor

import pytest
from deciders import ADMIN, PROCESSES, SETTINGS, be_a_daemon, be_the_page, race

from policy_store import State
from policy_store.errors import StaleDecision
from policy_store.records import Role
from policy_store.review import actions
from policy_store.review.access import Visitor
from policy_store.review.actions import Order, Verb
from policy_store.review.situation import situation_of

ROUNDS = 6


def test_law_9_racing_processes_one_activation_wins(store, store_url, approved):
    start, said = PROCESSES.Barrier(3), PROCESSES.SimpleQueue()
    racers = [
        PROCESSES.Process(target=race, args=(store_url, approved(), start, said)) for _ in range(3)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0, 0, 0]
    outcomes = sorted(said.get() for _ in racers)
    assert outcomes == sorted([store.slot().digest, "stale", "stale"])
    assert [entry.action for entry in store.audit.entries()].count("activated") == 1


def test_two_daemons_and_a_page_lose_nothing(store, store_url):
    with ProcessPoolExecutor(3, mp_context=PROCESSES) as pool:
        page = pool.submit(be_the_page, store_url, 2 * ROUNDS)
        daemons = [pool.submit(be_a_daemon, store_url, name, ROUNDS) for name in ("one", "two")]
        runs, counts = [daemon.result() for daemon in daemons], page.result()
    policies = store.list_policies()
    assert len(policies) == 2 * ROUNDS
    for run in runs:
        events = store.runs.events(run)
        assert [event.payload["n"] for event in events] == [n // 2 for n in range(2 * ROUNDS)]
        assert store.runs.get_run(run).verdict == "improved"
    assert all(len(store.show(policy.digest).evidence) == 2 for policy in policies)

    entries = [entry.action for entry in store.audit.entries(limit=10_000)]
    assert counts["canary"] == entries.count("approved") == entries.count("placed") == 2 * ROUNDS
    assert counts["promote"] == entries.count("activated") == 2 * ROUNDS
    assert counts["roll-back"] == entries.count("rolled_back") == 2 * ROUNDS // 3
    assert set(counts) <= {"canary", "promote", "roll-back", "StaleDecision", "ForbiddenMove"}
    assert len(entries) == 4 * 2 * ROUNDS + 3 * 2 * ROUNDS + 2 * ROUNDS // 3
    assert store.audit.verify().intact


@pytest.mark.parametrize("verb", [Verb.APPROVE, Verb.CANARY, Verb.REJECT])
def test_two_approve_the_same_policy_at_once(store, evaluated, monkeypatch, verb):
    policy, both_looked = evaluated(), threading.Barrier(2)
    seen, said = situation_of(store, SETTINGS.deployment, policy), []
    looked = threading.local()

    def look_together(*arguments):
        found = situation_of(*arguments)
        if not hasattr(looked, "once"):
            looked.once = True
            both_looked.wait()
        return found

    def decide(visitor, verb):
        order = Order(verb, "because", seen, override=True)
        try:
            said.append(actions.perform(store, SETTINGS, policy, order, visitor))
        except StaleDecision as late:
            said.append(late)

    monkeypatch.setattr(actions, "situation_of", look_together)
    threads = [
        threading.Thread(target=decide, args=(ADMIN, Verb.APPROVE)),
        threading.Thread(target=decide, args=(Visitor("ben", Role.ADMIN), verb)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (late,) = [one for one in said if isinstance(one, StaleDecision)]
    state = store.show(policy).version.state
    assert f"The policy was evaluated and is {state} now." in str(late)
    assert len(said) == 2
    assert state is not State.EVALUATED
    assert len([e for e in store.history(policy) if e.action in ("approved", "rejected")]) == 1
