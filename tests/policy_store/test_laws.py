"""Laws 9 and 10 under random decisions, racing deciders and sudden death."""

import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from policy_store import Alias, PolicyStore
from policy_store.errors import ForbiddenMove, NothingLive, StaleDecision
from policy_store.lifecycle import APPROVED_STATES

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENTS = st.sampled_from(["east", "west"])
PICKS = st.integers(0, 5)


def machine_of(template, prepare):
    class Deciders(RuleBasedStateMachine):
        """Anybody decides anything at any time; the laws hold all the same."""

        def __init__(self):
            super().__init__()
            self.folder = tempfile.mkdtemp()
            self.store = PolicyStore.open(shutil.copy(template, f"{self.folder}/store.db"))
            self.policies = []
            self.allowed = set()
            self.highest = {}

        def teardown(self):
            assert self.store.audit.verify().intact
            self.store.close()
            shutil.rmtree(self.folder)

        def attempt(self, decide, *arguments, **options):
            try:
                return decide(*arguments, by="ada", note="why not", **options)
            except (ForbiddenMove, NothingLive):
                return None

        def pick(self, index):
            return self.policies[index % len(self.policies)]

        @precondition(lambda self: len(self.policies) < 5)
        @rule(deployment=st.sampled_from([None, "east", "west"]))
        def arrive(self, deployment):
            self.policies.append(prepare(self.store, len(self.policies)))
            if deployment:
                self.approve(len(self.policies) - 1)
                self.activate(len(self.policies) - 1, deployment)

        @precondition(lambda self: self.policies)
        @rule(index=PICKS)
        def approve(self, index):
            if self.attempt(self.store.approve, self.pick(index)):
                self.allowed.add(self.pick(index))

        @precondition(lambda self: self.policies)
        @rule(index=PICKS, how=st.sampled_from(["reject", "eject"]))
        def turn_down(self, index, how):
            if self.attempt(getattr(self.store, how), self.pick(index)):
                self.allowed.discard(self.pick(index))

        @precondition(lambda self: self.policies)
        @rule(index=PICKS, deployment=DEPLOYMENTS)
        def activate(self, index, deployment):
            sequence = self.store.slot(deployment=deployment).sequence
            done = self.attempt(
                self.store.activate, self.pick(index), sequence, deployment=deployment
            )
            assert done is None or done.sequence > sequence

        @precondition(lambda self: self.policies)
        @rule(index=PICKS, deployment=DEPLOYMENTS, alias=st.sampled_from(["shadow", "canary"]))
        def try_out(self, index, deployment, alias):
            place = Alias(alias)
            sequence = self.store.slot(place, deployment).sequence
            self.attempt(self.store.place, self.pick(index), place, sequence, deployment=deployment)

        @rule(deployment=DEPLOYMENTS, alias=st.sampled_from(["shadow", "canary"]))
        def withdraw(self, deployment, alias):
            place = Alias(alias)
            sequence = self.store.slot(place, deployment).sequence
            self.attempt(self.store.withdraw, place, sequence, deployment=deployment)

        @rule(deployment=DEPLOYMENTS)
        def rollback(self, deployment):
            leaving = self.store.slot(deployment=deployment).digest
            done = self.attempt(self.store.rollback, deployment=deployment)
            assert done is None or done.digest != leaving

        @invariant()
        def slots_hold_only_approved_policies_and_never_go_back(self):
            for deployment in ("east", "west"):
                for slot in self.store.slots(deployment):
                    key = deployment, slot.alias
                    assert slot.sequence >= self.highest.get(key, 0)
                    self.highest[key] = slot.sequence
                    if slot.digest is not None:
                        assert slot.digest in self.allowed
                        assert self.store.show(slot.digest).version.state in APPROVED_STATES

        @invariant()
        def each_sequence_names_what_is_live(self):
            for deployment in ("east", "west"):
                snapshot = self.store.snapshot(deployment)
                names = self.store.activations(deployment, after=snapshot.sequence - 1)
                good = snapshot.last_good.digest if snapshot.last_good else None
                assert good is None or good != snapshot.digest
                if snapshot.sequence:
                    assert [(n.digest, n.last_good) for n in names] == [(snapshot.digest, good)]

    Deciders.TestCase.settings = settings(
        max_examples=20, stateful_step_count=25, deadline=None, derandomize=True
    )
    return Deciders


def test_law_9_what_is_live_is_approved_and_sequences_never_go_back(template, prepare):
    machine_of(template, prepare).TestCase().runTest()


def test_law_9_racing_threads_one_activation_wins(store, approved):
    digests = [approved() for _ in range(6)]
    start = threading.Barrier(len(digests))
    outcomes = []

    def race(digest):
        start.wait()
        try:
            outcomes.append(store.activate(digest, 0, by=digest[:8], note="me first").digest)
        except StaleDecision:
            outcomes.append(None)

    threads = [threading.Thread(target=race, args=(digest,)) for digest in digests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one for one in outcomes if one] == [store.slot().digest]
    assert len(outcomes) == len(digests)


RACER = """
import sys
from policy_store import PolicyStore
from policy_store.errors import StaleDecision
store = PolicyStore.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    print(store.activate(sys.argv[2], 0, by="racer", note="me first").digest)
except StaleDecision:
    print("stale")
"""


def child(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_law_9_racing_processes_one_activation_wins(store, store_path, approved):
    racers = [child(RACER, store_path, approved()) for _ in range(3)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    outcomes = sorted(racer.communicate()[0].strip() for racer in racers)
    assert outcomes == sorted([store.slot().digest, "stale", "stale"])
    assert [entry.action for entry in store.audit.entries()].count("activated") == 1


WRITER = """
import sys
from policy_store import Origin, PolicyStore
store = PolicyStore.open(sys.argv[1])
run = store.runs.start_run("evolve", {}).id
for number in range(10_000):
    digest = store.propose(
        f"x = '{sys.argv[2]} {number}'", name="p", origin=Origin.LLM, author="m",
        contract_version=1, run=run,
    ).digest
    store.record_verified(digest, by="verifier")
    store.attach_evidence(digest, {"n": number}, by="simulator")
    store.approve(digest, by="ada", note="yes")
    store.activate(digest, store.slot().sequence, by="ada", note="go")
    if number % 3 == 2:
        store.rollback(by="ada", note="back")
    store.runs.append_event(run, "generation", {"n": number})
    print(number, flush=True)
"""
STATES_AFTER = {
    "proposed": {"proposed"},
    "verified": {"verified"},
    "evidence_attached": {"evaluated"},
    "approved": {"approved"},
    "activated": {"active", "retired"},
    "rolled_back": {"rolled_back"},
}


@pytest.mark.parametrize("rounds", [1, 4, 9])
def test_law_10_kill_9_of_a_writer_leaves_a_consistent_store(store_path, rounds):
    writer = child(WRITER, store_path, rounds)
    for _ in range(rounds):
        writer.stdout.readline()
    writer.kill()
    writer.communicate()
    with PolicyStore.open(store_path) as store:
        assert store.audit.verify().intact
        for version in store.list_policies():
            assert version.state.value in STATES_AFTER[store.history(version.digest)[-1].action]
        decisions = [entry.details.get("sequence") for entry in store.audit.entries(limit=10_000)]
        sequences = [activation.sequence for activation in store.activations()]
        assert sequences == [number for number in decisions if number]
        assert store.slot().sequence == sequences[-1]
    raw = sqlite3.connect(store_path)
    assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
    raw.close()
