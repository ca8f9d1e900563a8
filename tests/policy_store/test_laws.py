"""Law 9 under random decisions and racing deciders."""

import itertools
import shutil
import threading

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from policy_store import Alias, PolicyStore
from policy_store.errors import ForbiddenMove, NothingLive, StaleDecision
from policy_store.lifecycle import APPROVED_STATES

DEPLOYMENTS = st.sampled_from(["east", "west"])
PICKS = st.integers(0, 5)


def machine_of(prepare, new_store, examples):
    class Deciders(RuleBasedStateMachine):
        """Anybody decides anything at any time; the laws hold all the same."""

        def __init__(self):
            super().__init__()
            self.store = new_store()
            self.policies = []
            self.allowed = set()
            self.highest = {}
            self.named = {}

        def teardown(self):
            assert self.store.audit.verify().intact
            self.store.close()

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
                slots = self.store.slots(deployment)
                for slot in slots:
                    key = deployment, slot.alias
                    assert slot.sequence >= self.highest.get(key, 0)
                    self.highest[key] = slot.sequence
                holders = {slot.digest for slot in slots if slot.digest is not None}
                assert holders <= self.allowed
                states = [one.state for one in self.store.find_policies(holders).values()]
                assert len(states) == len(holders)
                assert set(states) <= APPROVED_STATES

        @invariant()
        def each_sequence_names_what_is_live(self):
            for deployment in ("east", "west"):
                snapshot = self.store.snapshot(deployment)
                active = self.store.slot(deployment=deployment)
                names = self.store.activations(deployment, after=active.sequence - 1)
                good = snapshot.last_good.digest if snapshot.last_good else None
                assert good is None or good != snapshot.digest
                if active.sequence:
                    assert [(n.digest, n.last_good) for n in names] == [(snapshot.digest, good)]
                places = {place: policy.digest for place, policy in snapshot.named.items()}
                named = self.named.setdefault((deployment, snapshot.sequence), places)
                assert named == places

    Deciders.TestCase.settings = settings(
        max_examples=examples, stateful_step_count=25, deadline=None, derandomize=True
    )
    return Deciders


def test_law_9_what_is_live_is_approved_and_sequences_never_go_back(template, tmp_path, prepare):
    numbers = itertools.count()

    def new_store():
        return PolicyStore.open(shutil.copy(template, tmp_path / f"{next(numbers)}.db"))

    machine_of(prepare, new_store, examples=settings.default.max_examples // 3).TestCase().runTest()


def test_law_9_on_postgresql(postgres_store, prepare):
    def new_store():
        postgres_store.empty()
        return PolicyStore.open(postgres_store.url)

    machine_of(prepare, new_store, examples=2).TestCase().runTest()


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
