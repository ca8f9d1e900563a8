"""`evolver demo`: the whole job once, and its words for a search that finds nothing."""

import re

import pytest

from evolver import library
from evolver.cli import demo_acts, demo_pages, demo_scene
from evolver.cli.demo_scene import DOOR_HOOKS, REFUSED, Scale
from evolver.cli.demo_view import SearchView
from evolver.cli.screen import Screen
from evolver.journal import Event, EventKind
from policy_store import PolicyStore, read_snapshot
from policy_store.keys import read_trusted
from sandbox.verifier import PolicyRefused, verify

TITLES = ("The window", "What people wrote", "The evolution", "The winner and its proof",
          "The approval", "The swap, under load", "Next")
FEW = (*library.baselines(), "l4")
SMALL = Scale(evaluations=18.0, seconds=60.0, live_s=0.8)


@pytest.fixture
def played(tmp_path, capsys, monkeypatch):
    """Play the demo at a scale; what it printed, and where its store is."""
    monkeypatch.setenv("EVOLVER_HOME", str(tmp_path / "unused"))
    monkeypatch.setattr("evolver.library.names", lambda: FEW)  # all take twice as long

    def play(scale):
        demo_acts.play(Screen(quiet=True), scale, 1, tmp_path / "demo")
        return capsys.readouterr().out

    (tmp_path / "demo").mkdir()
    return play


def test_the_whole_job_is_shown_in_order(played, tmp_path):
    out = played(SMALL)
    places = [out.index(f". {title}") for title in TITLES]
    assert places == sorted(places)
    assert re.search(r"0 of \d+ requests failed", out)
    assert "\x1b" not in out
    assert not (tmp_path / "unused" / "store.db").exists()
    proved = "What changed:" in out
    with PolicyStore.open(tmp_path / "demo" / "store.db") as store:
        assert bool(store.list_policies()) is proved
        assert store.audit.verify().intact
    if proved:
        trusted = read_trusted(tmp_path / "demo" / "trusted_keys.json")
        digest = read_snapshot(tmp_path / "demo" / "active.json", trusted).digest
        assert f"carry the approved digest, {digest[:12]}" in out
    else:
        assert "nothing to approve" in out


@pytest.mark.parametrize(("title", "text"), REFUSED)
def test_what_is_said_to_be_refused_is(title, text):
    with pytest.raises(PolicyRefused):
        verify(text, title)


def test_the_demo_searches_only_what_its_gateway_decides():
    assert demo_scene.DoorProblem.hooks.fget(None) == DOOR_HOOKS == {"route"}


def test_the_fleet_that_serves_is_the_fleet_that_was_searched_on():
    from evolver.cli.demo_swap import specs

    cluster = demo_scene.fleet()
    assert [spec.gpu for spec in specs(2.0)] == [pool.gpu for pool in cluster.pool]
    assert {spec.max_num_seqs for spec in specs(2.0)} == {cluster.engine.max_num_seqs}


def event(kind, digest="", **data):
    base = {"name": "n", "idea": "an idea", "parents": [], "score": 1.0, "fault": None, "text": "t"}
    return Event(0, kind, 1, digest, {**base, **data})


def test_a_winner_is_traced_back_to_what_a_person_wrote():
    view = SearchView(Screen())
    view.on_event(event(EventKind.HUMAN_SCORED, "h", name="least_loaded", text="source"))
    view.on_event(event(EventKind.CANDIDATE_SCORED, "a", parents=["h"], score=0.9))
    view.on_event(event(EventKind.TUNED, "b", parents=["a"], of="a", score=0.8))
    assert view.forebear("b") == ("least_loaded", "source")
    assert view.forebear("unknown") is None


def test_one_refusal_of_a_kind_is_shown_and_the_best_stands_out(capsys):
    view = SearchView(Screen())
    refusals = [{"line": 3, "code": "loop", "reason": "while has no bound.", "mend": "Use range."}]
    for _ in range(3):
        view.on_event(event(EventKind.CANDIDATE_REFUSED, refusals=refusals))
    view.on_event(event(EventKind.HUMAN_SCORED, "h"))
    view.on_event(event(EventKind.CANDIDATE_SCORED, "a", score=0.82))
    out = capsys.readouterr().out
    assert out.count("while has no bound. Use range.") == 1
    assert re.search(r"an idea +-18\.0 %  best so far", out)


def test_the_quick_demo_is_smaller():
    full, quick = demo_scene.FULL, demo_scene.QUICK
    assert (quick.evaluations, quick.seconds, quick.live_s) < (
        full.evaluations, full.seconds, full.live_s)


def test_without_a_decision_there_is_nothing_to_approve():
    lines = [line for block in demo_pages.approval(None, "ada").blocks
             for line in getattr(block, "lines", ())]
    assert "Without a proof there is nothing to approve." in lines
