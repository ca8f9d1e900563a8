"""Runs: what is needed to continue one after it was stopped."""

import pytest

from policy_store import PolicyStore
from policy_store.errors import InvalidInput, SealedBefore, UnknownRun


def test_a_run_is_read_back_by_another_process(store, store_url):
    run = store.runs.start_run("evolve", {"seed": 1, "trace": "azure"})
    assert store.runs.append_event(run.id, "generation", {"best": 0.5}) == 1
    pairs = [("candidate", {"n": 1}), ("candidate", {"n": 2})]
    assert store.runs.append_events(run.id, pairs) == 3
    with PolicyStore.open(store_url) as other:
        assert other.runs.get_run(run.id) == run
        events = other.runs.events(run.id, after=1)
    assert [(event.sequence, dict(event.payload)) for event in events] == [
        (2, {"n": 1}),
        (3, {"n": 2}),
    ]


def test_a_bad_event_adds_none_of_its_batch(store):
    run = store.runs.start_run("evolve", {})
    with pytest.raises(InvalidInput, match="not JSON"):
        store.runs.append_events(run.id, [("good", {}), ("bad", {"x": object()})])
    assert store.runs.events(run.id) == ()


def test_sealed_windows_are_opened_for_one_candidate_of_a_run_and_audited_once(store, store_url):
    run, other = (store.runs.start_run("evolve", {"seed": n}).id for n in (1, 2))
    store.runs.open_sealed(run, "a" * 64, 10, by="evolver")
    store.runs.open_sealed(other, "b" * 64, 10, by="evolver")
    with PolicyStore.open(store_url) as resumed:
        resumed.runs.open_sealed(run, "a" * 64, 10, by="evolver")
        with pytest.raises(SealedBefore, match="for aaaaaaaaaaaa already"):
            resumed.runs.open_sealed(run, "b" * 64, 10, by="evolver")
    (entry,) = store.audit.entries(subject="a" * 64)
    assert (entry.action, dict(entry.details)) == ("sealed_opened", {"run": run, "windows": 10})


def test_a_finished_run_takes_nothing_more(store):
    run = store.runs.start_run("evolve", {})
    done = store.runs.finish_run(run.id, "improved", {"gain": 0.07})
    assert (done.verdict, done.summary) == ("improved", {"gain": 0.07})
    assert done.finished_at >= done.started_at
    with pytest.raises(InvalidInput, match="finished as improved"):
        store.runs.append_event(run.id, "late", {})


def test_an_unknown_run_is_named(store):
    for ask in (store.runs.get_run, store.runs.events):
        with pytest.raises(UnknownRun, match="no run nowhere"):
            ask("nowhere")


def test_newest_run_first(store):
    runs = [store.runs.start_run("evolve", {"n": n}) for n in range(3)]
    assert store.runs.list_runs(limit=2) == (runs[2], runs[1])


def test_summaries_are_of_one_verdict_and_newest_first(store):
    runs = [store.runs.start_run("evolve", {}).id for _ in range(4)]
    ends = (("improved", {"n": 0}), ("no_change", {"n": 1}), ("improved", {"n": 2}))
    for run, (verdict, summary) in zip(runs, ends, strict=False):
        store.runs.finish_run(run, verdict, summary)
    store.runs.finish_run(runs[3], "improved")
    assert list(store.runs.summaries("improved").items()) == [
        (runs[2], {"n": 2}),
        (runs[0], {"n": 0}),
    ]


def test_a_run_is_found_by_its_first_digits_or_as_the_last(store):
    first = store.runs.start_run("evolve", {})
    second = store.runs.start_run("evolve", {})
    assert store.runs.find_run(first.id[:12]) == first
    assert store.runs.find_run("last").id in (first.id, second.id)
    with pytest.raises(UnknownRun, match="evolver run list"):
        store.runs.find_run("f" * 32)
    with pytest.raises(InvalidInput, match="first four digits"):
        store.runs.find_run("abc")


def test_events_of_some_kinds_only(store):
    run = store.runs.start_run("evolve", {}).id
    store.runs.append_events(run, [("scored", {}), ("done", {}), ("scored", {})])
    assert [event.sequence for event in store.runs.events(run, kinds=("scored",))] == [1, 3]


def test_runs_are_listed_page_by_page_without_gap_or_repeat(store):
    made = {store.runs.start_run("evolve", {"n": number}).id for number in range(5)}
    seen, after = [], None
    while page := store.runs.list_runs(2, after=after):
        seen += [run.id for run in page]
        after = seen[-1]
    assert (len(seen), set(seen)) == (5, made)
