"""Laws 9 and 10 when a process is killed with SIGKILL at each step of a decision."""

import signal
import sqlite3
import time

import pytest
from deciders import PROCESSES, die_at_each_step, write_for_ever

from policy_store import Alias, PolicyStore, State
from policy_store.lifecycle import APPROVED_STATES

STEPS = 5  # of the shortest decision, at least


def check_laws(store):
    assert store.audit.verify().intact
    for slot in store.slots():
        if slot.digest is not None:
            assert store.show(slot.digest).version.state in APPROVED_STATES
            assert "approved" in [entry.action for entry in store.history(slot.digest)]
    logged = [entry.details.get("sequence") for entry in store.audit.entries(limit=1000)
              if entry.action in ("activated", "rolled_back")]  # fmt: skip
    assert [each.sequence for each in store.activations()] == logged
    snapshot = store.snapshot()
    assert snapshot.digest == store.slot().digest


def kill_at_each_step(store, url, decision, policy):
    said = PROCESSES.SimpleQueue()
    store.close()  # The dead are alone with the database.
    parent = PROCESSES.Process(target=die_at_each_step, args=(url, decision, policy, said))
    parent.start()
    parent.join()
    assert parent.exitcode == 0
    undone, ended = said.get()
    assert (undone > STEPS, ended) == (True, -signal.SIGKILL)
    check_laws(store)


def test_law_9_kill_9_at_each_step_of_a_decision(store, store_url, approved, evaluated, go_live):
    first, policy = approved(), evaluated()
    go_live(first)
    states = lambda: [store.show(each).version.state for each in (first, policy)]  # noqa: E731
    actions = lambda: [entry.action for entry in store.history(policy)][3:]  # noqa: E731

    kill_at_each_step(store, store_url, "approve", policy)
    assert states() == [State.ACTIVE, State.CANARY]
    assert (store.slot(Alias.CANARY).digest, store.slot(Alias.CANARY).weight) == (policy, 0.1)
    assert actions() == ["approved", "placed"]

    kill_at_each_step(store, store_url, "activate", policy)
    assert states() == [State.RETIRED, State.ACTIVE]
    assert store.slot(Alias.LAST_GOOD).digest == first
    assert store.slot(Alias.CANARY).digest is None
    assert actions() == ["approved", "placed", "activated"]

    kill_at_each_step(store, store_url, "roll_back", policy)
    assert states() == [State.ACTIVE, State.ROLLED_BACK]
    assert store.slot().digest == first
    assert actions() == ["approved", "placed", "activated", "rolled_back"]


STATES_AFTER = {
    "proposed": {"proposed"},
    "verified": {"verified"},
    "evidence_attached": {"evaluated"},
    "approved": {"approved"},
    "activated": {"active", "retired"},
    "rolled_back": {"rolled_back"},
}


@pytest.mark.parametrize("rounds", [1, 9])
def test_law_10_kill_9_of_a_busy_writer_leaves_a_consistent_store(store_url, rounds):
    said = PROCESSES.SimpleQueue()
    writer = PROCESSES.Process(target=write_for_ever, args=(store_url, said))
    writer.start()
    for number in range(rounds):
        while said.empty():
            assert writer.is_alive()
            time.sleep(0.01)
        assert said.get() == number
    writer.kill()
    writer.join()
    with PolicyStore.open(store_url) as store:
        check_laws(store)
        for version in store.list_policies():
            assert version.state.value in STATES_AFTER[store.history(version.digest)[-1].action]
    if "://" not in store_url:
        raw = sqlite3.connect(store_url)
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
        raw.close()
