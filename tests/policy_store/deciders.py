"""What other processes do to a store in tests: forked from a server that has the imports already.

Everything takes a store's URL or path and opens it by itself, as a process of its own would.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from sqlalchemy import Engine, event

from policy_store import Alias, Origin, PolicyStore
from policy_store.errors import ForbiddenMove, StaleDecision
from policy_store.lifecycle import State
from policy_store.records import HostReport, Role
from policy_store.review.access import Visitor
from policy_store.review.actions import OF_DEPLOYMENT, Order, Verb, perform
from policy_store.review.settings import Settings
from policy_store.review.situation import situation_of
from policy_store.rule_application import apply_rules
from policy_store.trials import Trial

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["policy_store.review.actions", "policy_store.rule_application",
     "sqlalchemy.dialects.postgresql.psycopg"]
)  # fmt: skip
PATIENCE_S = 120.0  # with daemons that died
SETTINGS = Settings(secret=b"s" * 32)
ADMIN = Visitor("ada", Role.ADMIN)


def kill_at(engine: Engine, step: int) -> None:
    """Die before the change with this number, or before or after the commit that has it.

    Taking the lock is a change, reading is none.
    """
    steps = itertools.count(1)

    def count() -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def count_changes(_: object, __: object, statement: str, *___: object) -> None:
        if not statement.startswith("SELECT") or "FOR UPDATE" in statement:
            count()

    commit = engine.dialect.do_commit

    def counted_commit(connection: object) -> None:
        count()
        commit(connection)
        count()

    event.listen(engine, "before_cursor_execute", count_changes)
    engine.dialect.do_commit = counted_commit


def approve(store: PolicyStore, policy: str) -> Callable[[], object]:
    """To the canary, on the evidence that is there."""
    evidence = [record.digest for record in store.show(policy).evidence]
    trial = Trial(Alias.CANARY, store.slot(Alias.CANARY).sequence, weight=0.1)
    return lambda: store.approve(policy, "ada", "good", evidence=evidence, trial=trial)


def activate(store: PolicyStore, policy: str) -> Callable[[], object]:
    """On what is active now."""
    expected = store.slot().sequence
    return lambda: store.activate(policy, expected, "ada", "live")


def roll_back(store: PolicyStore, policy: str) -> Callable[[], object]:
    """The active policy."""
    assert store.slot().digest == policy
    return lambda: store.rollback("ada", "slow")


DECISIONS = {"approve": approve, "activate": activate, "roll_back": roll_back}


def picture(store: PolicyStore) -> object:
    """Everything that a decision changes."""
    states = {version.digest: version.state for version in store.list_policies()}
    entries = [(entry.action, entry.subject) for entry in store.audit.entries(limit=1000)]
    return states, store.slots(), store.activations(), entries


def die_at_each_step(url: str, decision: str, policy: str, said: SimpleQueue[object]) -> None:
    """Let children decide, each killed one step later, until it was decided all the same.

    Says how often it was not, and how the last child ended.
    """
    store = PolicyStore.open(url)
    before = picture(store)
    for step in itertools.count(1):
        store.close()  # A connection does not survive a fork.
        child = os.fork()
        if child == 0:
            act = DECISIONS[decision](store, policy)
            kill_at(store._database.engine, step)
            act()
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        # The lock of the dead is free.
        store.report_host(HostReport("h", "default", step, None, store._database.clock()))
        if ended != -signal.SIGKILL or picture(store) != before:
            said.put((step - 1, ended))
            return


def publish_and_die(url: str, home: Path, step: int) -> None:
    """Renew the active policy, and be killed when the home is touched so often to publish that."""
    from evolver.cli.publishing import keys_folder, publish
    from policy_store.keys import load_signing_key

    key, touched = load_signing_key(keys_folder(home)), itertools.count(1)

    def watch(kind: str, arguments: tuple[object, ...]) -> None:
        about_home = kind in ("open", "os.rename") and str(arguments[0]).startswith(str(home))
        if about_home and next(touched) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    with PolicyStore.open(url) as store:
        store.renew(store.slot().sequence, by="ada", note="looked at it again")
        sys.addaudithook(watch)
        publish(store, home, key)
    os._exit(0)


def race(url: str, policy: str, start: Barrier, said: SimpleQueue[str]) -> None:
    """Make a policy active at the same moment as others; says which is, or that it was late."""
    with PolicyStore.open(url) as store:
        start.wait()
        try:
            said.put(str(store.activate(policy, 0, by="racer", note="me first").digest))
        except StaleDecision:
            said.put("stale")


def let_rules_decide(url: str, policy: str, start: Barrier, said: SimpleQueue[str | None]) -> None:
    """Ask the rules about a policy at the same moment as others; says which rule approved it."""
    with PolicyStore.open(url) as store:
        start.wait(PATIENCE_S)
        said.put(apply_rules(store, policy).rule)


def write_for_ever(url: str, said: SimpleQueue[int]) -> None:
    """Propose, decide and journal without end; says each round."""
    store = PolicyStore.open(url)
    run = store.runs.start_run("evolve", {}).id
    for number in itertools.count():
        policy = _measure(store, f"x = {number}", run)
        store.approve(policy, by="ada", note="yes")
        store.activate(policy, store.slot().sequence, by="ada", note="go")
        if number % 3 == 2:
            store.rollback(by="ada", note="back")
        store.runs.append_event(run, "generation", {"n": number})
        said.put(number)


def be_a_daemon(url: str, name: str, rounds: int) -> str:
    """Propose and measure policies, and look again at each; returns the run that they came from."""
    with PolicyStore.open(url) as store:
        run = store.runs.start_run("evolve", {"name": name}).id
        for number in range(rounds):
            policy = _measure(store, f"x = '{name} {number}'", run)
            store.runs.append_events(run, [("scored", {"n": number}), ("kept", {"n": number})])
            store.attach_evidence(policy, {"again": policy}, by=name)
        store.runs.finish_run(run, "improved")
        return run


def be_the_page(url: str, policies: int) -> Counter[str]:
    """Decide on so many policies as they come: canary, promote, every third back; counts it all."""
    counts: Counter[str] = Counter()
    give_up = time.monotonic() + PATIENCE_S
    with PolicyStore.open(url) as store:
        for number in range(policies):
            while not (waiting := store.list_policies(state=State.EVALUATED, limit=1)):
                assert time.monotonic() < give_up, f"only {number} policies came"
                time.sleep(0.01)
            policy = waiting[0].digest
            verbs = [Verb.CANARY, Verb.PROMOTE, Verb.ROLL_BACK][: 3 if number % 3 == 2 else 2]
            for verb in verbs:
                _decide(store, policy, verb, counts)
    return counts


def _measure(store: PolicyStore, source: str, run: str) -> str:
    policy = store.propose(
        source, name="p", origin=Origin.LLM, author="m", contract_version=1, run=run
    ).digest
    store.record_verified(policy, by="verifier")
    store.attach_evidence(policy, {"of": policy}, by="simulator")
    return policy


def _decide(store: PolicyStore, policy: str, verb: Verb, counts: Counter[str]) -> None:
    """Until nobody else was quicker."""
    while True:
        about = None if verb in OF_DEPLOYMENT else policy
        seen = situation_of(store, SETTINGS.deployment, about)
        try:
            perform(store, SETTINGS, about, Order(verb, "because", seen, override=True), ADMIN)
        except (StaleDecision, ForbiddenMove) as error:
            counts[type(error).__name__] += 1
        else:
            counts[verb.value] += 1
            return
