"""Faults that are injected for real into a run: nothing lost, nothing hung, no budget overdrawn."""

import contextlib
import itertools
import os
import signal
import sqlite3
import threading

import interrupted
import pytest
from mishaps import BASE, WINDOWS, mishap_pool, searched
from toy_pools import children_of

from evolver.journal import EventKind
from evolver.task import Split
from evolver.verdict import Outcome
from policy_store import PolicyStore, engine
from policy_store.errors import StoreUnavailable
from sandbox.scores import Candidate

WORDS = ("hang", "exit", "segfault", "allocate", "fork", "raise", "nan", "babble", "refuse",
         "compile hang", "compile exit", "compile allocate")  # fmt: skip


def timeless(log):
    return [(event.kind, event.candidate, event.data) for event in log.events]


@pytest.fixture(scope="module")
def unlucky():
    """A whole search among candidates with every mishap there is."""
    with mishap_pool() as pool:
        return searched(pool, WORDS, 60)


def test_a_search_among_mishaps_ends_with_what_went_well(unlucky):
    result, _ = unlucky
    assert result.verdict.outcome in (Outcome.IMPROVED, Outcome.NO_CHANGE)
    assert result.verdict.winner.text.startswith("well")
    assert all(one.fault is None for one in result.verdict.winner.results.values())


def test_every_mishap_is_a_fault_of_its_candidate_and_is_told(unlucky):
    result, log = unlucky
    dropped = log.of(EventKind.CANDIDATE_DROPPED)
    faulty = {event.data["idea"] for event in dropped if event.data["reason"] == "fault"}
    assert faulty == set(WORDS)
    assert not any(member.origin == "unlucky" and "well" not in member.text
                   for member in result.members)  # fmt: skip


def test_every_proposal_is_accounted_for(unlucky):
    tally = unlucky[0].tally
    ends = tally.refused + tally.unusable + tally.duplicates + tally.failed
    assert tally.proposed == ends + tally.dropped + tally.scored
    assert unlucky[0].evaluations <= 60


def killing(pool, whom, at):
    """A sink that kills processes of a pool when an event of a number comes."""

    class Killer:
        def on_event(self, event):
            if event.sequence in at:
                for pid in whom(pool):
                    os.kill(pid, signal.SIGKILL)

    return Killer()


def warm_process(pool):
    return [pool._warm._process.pid]


@pytest.mark.parametrize("whom", [warm_process, children_of])
def test_killed_processes_change_no_event(whom):
    with mishap_pool() as pool:
        _, log = searched(pool, ["exit"], 12)
        _, killed = searched(pool, ["exit"], 12, sinks=[killing(pool, whom, {3, 9, 10, 11, 20})])
    assert timeless(killed) == timeless(log)


@pytest.mark.parametrize("whom", [warm_process, children_of])
def test_processes_that_are_killed_in_mid_batch_are_replaced(whom):
    jobs = [(Candidate(f"dawdle_then_well {k}"), WINDOWS[Split.TRAINING]) for k in range(12)]
    done = []

    def on_done(index, scores):
        done.append(index)
        if len(done) == 3:
            for pid in whom(pool):
                os.kill(pid, signal.SIGKILL)

    with mishap_pool() as pool:
        scores = pool.evaluate(jobs, on_done)
    assert sorted(done) == list(range(12))
    expected = [3.0 * BASE[window] for window in WINDOWS[Split.TRAINING]]
    assert all([score.objective for score in found] == expected for found in scores)


def test_the_number_of_workers_changes_no_event_among_mishaps():
    logs = []
    for workers in (1, 3):
        with mishap_pool(workers) as pool:
            logs.append(timeless(searched(pool, ["exit", "nan", "refuse"], 12)[1]))
    assert logs[0] == logs[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The record of a run that nothing happened to."""
    path = tmp_path_factory.mktemp("whole") / "store.db"
    with PolicyStore.open(path) as store:
        interrupted.run(store, "-")
        return interrupted.told(store, store.runs.list_runs()[0].id)


def goes_on_to(path, run, whole):
    """Does a run that was interrupted come to the end that it would have come to?"""
    with PolicyStore.open(path) as store:
        if store.runs.get_run(run).finished_at is None:
            interrupted.run(store, run)
        return interrupted.told(store, run) == whole


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_never_was(tmp_path, whole):
    path, run = tmp_path / "killed.db", "-"
    for kill_at in (9, 84):  # in the tuning of the humans, in the proof
        code, run = interrupted.in_a_process(path, run, kill_at)
        assert code == -signal.SIGKILL
    assert goes_on_to(path, run, whole)


def test_on_a_full_disk_a_run_ends_and_goes_on_when_there_is_room(tmp_path, whole):
    path = tmp_path / "full.db"
    with PolicyStore.open(path):
        pass
    code, run = interrupted.in_a_process(path, "-", 0, path.stat().st_size + (64 << 10))
    assert code == interrupted.REFUSED
    assert goes_on_to(path, run, whole)


def test_a_store_that_somebody_locks_is_waited_for(tmp_path, whole):
    path = tmp_path / "locked.db"
    somebody = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    def lock_for_a_while():
        somebody.execute("BEGIN IMMEDIATE")
        threading.Timer(0.1, somebody.rollback).start()

    with PolicyStore.open(path) as store, contextlib.closing(somebody):
        at_row(store, 12, lock_for_a_while)
        interrupted.run(store, "-")
        assert interrupted.told(store, store.runs.list_runs()[0].id) == whole


def test_a_store_that_stays_locked_ends_the_run_which_goes_on_later(tmp_path, whole, monkeypatch):
    path = tmp_path / "locked.db"
    impatient = [pragma.replace("5000", "300") for pragma in engine.PRAGMAS]
    monkeypatch.setattr(engine, "PRAGMAS", impatient)
    somebody = sqlite3.connect(path, isolation_level=None)
    with PolicyStore.open(path) as store, contextlib.closing(somebody):
        at_row(store, 12, lambda: somebody.execute("BEGIN IMMEDIATE"))
        with pytest.raises(StoreUnavailable, match="stayed locked"):
            interrupted.run(store, "-")
        run = store.runs.list_runs()[0].id
    assert goes_on_to(path, run, whole)


def at_row(store, number, act):
    """Do something before a batch of rows of a number is kept."""
    append, count = store.runs.append_events, itertools.count(1)

    def acting(*arguments, **options):
        if next(count) == number:
            act()
        return append(*arguments, **options)

    store.runs.append_events = acting
