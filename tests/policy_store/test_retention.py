"""Retention: what is old and was never approved goes, everything that decisions rest on stays."""

from datetime import UTC, datetime, timedelta

import pytest

from policy_store import PolicyStore, retention
from policy_store.errors import InvalidInput, UnknownPolicy
from policy_store.records import Ejection, HostReport, Kind, Role
from policy_store.retention import Pruned
from policy_store.tables import AccountRow, LinkRow, SessionRow

START = datetime(2031, 1, 1, tzinfo=UTC)
SUMMED_UP = ("run_started", "run_finished")


class Clock:
    """Stands still until a test moves it."""

    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now

    def days(self, count):
        self.now = START + timedelta(days=count)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(store_url, clock):
    with PolicyStore.open(store_url, clock) as opened:
        yield opened


@pytest.fixture
def propose(store):
    def one(text, *, stage="evaluated", parents=(), document=None):
        digest = store.propose(
            text, name=text, origin="mutator", author="m", contract_version=1, parents=parents
        ).digest
        if stage == "refused":
            store.record_refused(digest, ["no"], by="verifier")
        elif stage != "proposed":
            store.record_verified(digest, by="verifier")
        if stage not in ("proposed", "refused", "verified"):
            store.attach_evidence(digest, document or {"of": text}, by="simulator")
        if stage == "rejected":
            store.reject(digest, by="ada", note="no")
        return digest

    return one


def prune(store, days=30):
    """Removes what may go: as much as was said before, and no more afterwards."""
    expected = store.retention.plan(days, SUMMED_UP)
    gone = store.retention.prune(days, "ada", "quarterly", SUMMED_UP)
    assert gone == expected
    assert not store.retention.plan(days, SUMMED_UP)
    assert store.check().intact
    return gone


def present(store):
    return {one.name for one in store.list_policies()}


def test_what_nobody_approved_goes_with_what_only_it_used(store, propose, clock):
    for stage in ("proposed", "refused", "verified", "evaluated", "rejected"):
        propose(stage, stage=stage)
    clock.days(31)
    propose("fresh")
    assert prune(store) == Pruned(versions=5, sources=5, evidence=2)
    assert present(store) == {"fresh"}


def test_the_log_says_what_went_and_why(store, propose, clock):
    digest = propose("old")
    clock.days(31)
    prune(store)
    with pytest.raises(UnknownPolicy):
        store.show(digest)
    assert [entry.action for entry in store.audit.entries(subject=digest)] == [
        "proposed", "verified", "evidence_attached"]  # fmt: skip
    (entry,) = store.audit.entries(action="pruned")
    assert (entry.actor, entry.note, entry.details["digests"]) == ("ada", "quarterly", [digest])


def test_whatever_was_approved_once_stays_with_evidence_and_ancestors(store, propose, clock):
    oldest = propose("oldest")
    middle = propose("middle", stage="rejected", parents=[oldest])
    propose("aunt", parents=[oldest])
    for name in ("approved", "taken back", "live before", "live"):
        digest = propose(name, parents=[middle])
        store.approve(digest, by="ada", note="good")
        if name == "taken back":
            store.reject(digest, by="ada", note="no longer")
        if name.startswith("live"):
            store.activate(digest, store.slot().sequence, by="ada", note="live")
    clock.days(400)
    assert prune(store) == Pruned(versions=1, sources=1, evidence=1)
    assert present(store) == {
        "oldest", "middle", "approved", "taken back", "live before", "live"}  # fmt: skip
    assert len(store.show(digest).evidence) == len(store.show(oldest).evidence) == 1


def test_what_something_was_said_about_lately_stays(store, propose, clock):
    propose("silent")
    spoken = propose("spoken of")
    clock.days(31)
    store.attach_evidence(spoken, {"again": 1}, by="simulator", kind=Kind.CLOSE_UP)
    prune(store)
    assert present(store) == {"spoken of"}


def test_what_others_use_stays(store, propose, clock):
    old = propose("same text", document={"shared": 1})
    clock.days(31)
    again = store.propose(
        "same text", name="twin", origin="mutator", author="m", contract_version=1,
        parameters={"KNEE": 2.0},
    ).digest  # fmt: skip
    store.record_verified(again, by="verifier")
    store.attach_evidence(again, {"shared": 1}, by="simulator")
    assert again != old
    assert prune(store) == Pruned(versions=1)
    assert len(store.show(again).evidence) == 1


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_a_line_of_descent_goes_whole_in_any_portions(store, propose, clock, monkeypatch, at_once):
    monkeypatch.setattr(retention, "VERSIONS_AT_ONCE", at_once)
    line = []
    for place in range(7):
        line.append(propose(f"{place}", parents=line[-2:]))
    clock.days(31)
    assert prune(store) == Pruned(versions=7, sources=7, evidence=7)
    assert len(store.audit.entries(action="pruned")) == -(-7 // at_once)


def test_nothing_goes_that_is_approved_while_others_go(store, propose, clock, monkeypatch):
    monkeypatch.setattr(retention, "VERSIONS_AT_ONCE", 1)
    parent = propose("parent")
    digests = [propose(f"{place}", parents=[parent]) for place in range(3)]
    clock.days(31)
    late = []

    def approve_one(_):
        if not late:
            late.extend(one for one in digests if one in {v.digest for v in store.list_policies()})
            store.approve(late[0], by="bo", note="just in time")

    gone = store.retention.prune(30, "ada", "quarterly", SUMMED_UP, approve_one)
    assert gone.versions == 2
    assert {one.digest for one in store.list_policies()} == {parent, late[0]}
    assert store.check().intact


def test_a_finished_runs_events_go_in_portions_and_it_is_said(store, clock, monkeypatch):
    monkeypatch.setattr(retention, "EVENTS_AT_ONCE", 4)
    events = [("run_started", {}), *[("scored", {})] * 9, ("run_finished", {})]
    done, going = (store.runs.start_run("evolve", {}).id for _ in range(2))
    for run in (done, going):
        store.runs.append_events(run, events)
    store.runs.finish_run(done, "improved", {"gain": 0.07})
    clock.days(31)
    assert prune(store) == Pruned(runs=1, run_events=9)
    assert [event.kind for event in store.runs.events(done)] == list(SUMMED_UP)
    assert store.runs.get_run(done).pruned_at == clock.now
    assert store.runs.summaries("improved") == {done: {"gain": 0.07}}
    assert len(store.runs.events(going)) == 11
    assert store.runs.get_run(going).pruned_at is None


def test_people_who_left_and_hosts_that_fell_silent_go(store, clock):
    with store._database.deciding() as session:
        session.add(AccountRow(name="ada", likeness="ada", role=Role.ADMIN, created_at=START))
        session.flush()
        for number, days in enumerate((1, 90)):
            ends = START + timedelta(days=days)
            session.add(SessionRow(
                digest=f"{number}" * 64, account="ada", csrf="c" * 64, created_at=START,
                seen_at=START, expires_at=ends))  # fmt: skip
            for used in (None, START):
                digest = ("a" if used else f"{number}") * 63 + f"{number}"
                session.add(LinkRow(
                    digest=digest, account=None, created_at=START, expires_at=ends,
                    used_at=used))  # fmt: skip
    ejection = Ejection("1" * 64, 1, "ERROR", "it raised", START)
    store.report_host(HostReport("gone", "default", 1, None, START, (ejection,)))
    clock.days(31)
    store.report_host(HostReport("here", "default", 1, None, clock.now, (ejection,)))
    assert prune(store) == Pruned(sessions=1, links=3, hosts=1)
    assert [host.host for host in store.hosts()] == ["here"]
    assert store.row_counts()["accounts"] == 1


def test_without_a_reason_or_an_age_nothing_goes(store, propose, clock):
    propose("old")
    clock.days(31)
    for days, note in ((30, " "), (0, "quarterly"), (-1, "quarterly")):
        with pytest.raises(InvalidInput):
            store.retention.prune(days, "ada", note)
    assert present(store) == {"old"}
