"""`evolver evolve`: a small run from trace to verdict, how it is told, and what it refuses."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from evolver import evolution as path
from evolver.archive import Member
from evolver.budget import Limits
from evolver.candidates import Tally
from evolver.cli.evolve_lines import nearest
from evolver.cli.evolve_report import diff_text, document_of, next_steps, report_of
from evolver.cli.evolve_view import EvolveView
from evolver.cli.policies import open_store
from evolver.cli.screen import Screen
from evolver.evolution import Evolution
from evolver.journal import Event, EventKind
from evolver.loop import RunResult, Search, SearchSettings
from evolver.model_errors import EndpointDead
from evolver.run_history import Spent
from evolver.task import Gate, Human
from evolver.verdict import Effect, Outcome, Verdict
from evolver.written import written
from sandbox.report_html import page_of
from sandbox.verifier import verify
from sandbox.windows import Windows

KEYS = {"schema", "verdict", "policy", "best_human", "effect", "evaluations", "seconds", "tokens",
        "price_usd", "run"}


class DeadEndpoint:
    """A model that nobody answers for."""

    name = "openai/test"
    waits = True

    def propose(self, request):
        raise EndpointDead("Nothing answers at http://127.0.0.1:1/v1; check that it runs.")


@pytest.fixture
def two_humans(monkeypatch, policy_file):
    """Only two policies to score before the search begins: the suite stays quick."""
    text = policy_file.read_text()
    humans = (Human("mine", text, active=True), Human("other", text.replace("2.0", "3.0")))
    monkeypatch.setattr(path, "humans", lambda *_: humans)


def test_a_run_ends_with_a_verdict_and_is_kept(evolver, two_humans, trace_file):
    done = evolver("evolve", trace_file, "--seed", 1, "--budget-evaluations", 4, "--workers", 2,
                   "-o", "json")
    document = done.json
    assert done.code == 0
    assert document.keys() >= KEYS
    assert document["verdict"] == "not_enough_evidence"  # a minute is too short to prove on
    assert document["policy"] is None
    with open_store() as store:
        assert store.runs.get_run(document["run"]).verdict == document["verdict"]
        assert store.runs.events(document["run"])


def test_a_finished_run_comes_out_again_bit_for_bit(evolver, two_humans, trace_file):
    evolver("evolve", trace_file, "--seed", 1, "--budget-evaluations", 4, "--workers", 2)
    done = evolver("run", "replay", "last", "--workers", 1, "-o", "json")
    assert done.json["reproduced"]
    again = evolver("evolve", "--resume", done.json["run"][:8])
    assert again.code == 1
    assert "has ended" in again.err


def test_a_dead_endpoint_is_said_and_loses_nothing(evolver, two_humans, trace_file, monkeypatch):
    monkeypatch.setattr(path, "proposers", lambda *_: (DeadEndpoint(),))
    done = evolver("evolve", trace_file, "--budget-evaluations", 10, "--model", "openai/test",
                   "--api-base", "http://127.0.0.1:1/v1", "--workers", 1)
    assert done.code == 0
    assert "openai/test: Nothing answers at http://127.0.0.1:1/v1" in done.err
    assert "nothing is proposed" in done.out


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("--load", "0"), "A load of 0 means nothing"),
    (("--budget-seconds", "0"), "A budget of 0 buys nothing"),
    (("--budget-evaluations", "-3"), "A budget of -3 buys nothing"),
    (("--budget-evaluations", "1"), "1 evaluations do not pay for"),
    (("--api-base", "http://localhost:1/v1"), "add --model openai/NAME"),
    (("--model", "gpt-4o"), "write openai/gpt-4o"),
    (("--model", "openai/x", "--api-base", "http://localhost:1/v1", "--budget-usd", "1"),
     "limit tokens instead"),
    (("--cluster", "moon"), "There is no cluster 'moon'"),
    (("--until", "2"), "too short to search and to prove on"),
    (("--workers", "0"), "--workers"),
    (("--accept-missing", "walls"), "No layer of isolation is called 'walls'"),
])
def test_what_cannot_be_meant_is_refused(evolver, trace_file, arguments, sentence):
    done = evolver("evolve", trace_file, *arguments)
    assert done.code in (1, 2)
    assert sentence in done.err


def member(text, name, parameters=None, origin="human"):
    program = verify(text, name)
    values = {**program.parameters(), **(parameters or {})}
    return Member(program.digest(values), name, program, values, {}, 0.9, (), origin,
                  "weigh waiting requests more", (), 1)


@pytest.fixture
def improved(policy_file):
    """A run that found something, with its numbers made up."""
    human = member(policy_file.read_text(), "least_loaded")
    winner = member(policy_file.read_text(), "mutator-1", {"WEIGHT": 7.0}, "mutator")
    effect = Effect(human, 0.062, 0.031, 0.09, 9)
    gate = Gate("smooth_goodput", True, "Smooth goodput +1.0%.")
    verdict = Verdict(Outcome.IMPROVED, "Better than least_loaded by 3.1% to 9.0%.", human, winner,
                      (effect,), (gate,))
    result = RunResult(verdict, (winner,), Tally(proposed=32), 120.0, 2, 58.0, 0, 0.0)
    return Evolution("f" * 32, Windows((), (), (), 1.0, 1.0, ()), result, None, winner.digest)


@pytest.fixture
def view(home):
    return EvolveView(Screen(), Limits(seconds=60.0))


def test_a_win_is_told_with_its_interval(improved):
    document = document_of(improved)
    assert document["effect"] == {
        "metric": "objective_s", "relative": 0.062, "low": 0.031, "high": 0.09, "windows": 9,
        "sealed": True, "against": "least_loaded"}
    assert document["policy"] == improved.policy


def test_a_win_shows_the_tuned_constants_in_the_diff(improved, view, capsys):
    view.screen.show(report_of(improved, view))
    out = capsys.readouterr().out
    assert "A better policy was found." in out
    assert "3.1% .. 9.0%" in out
    assert "-WEIGHT = 2.0" in out
    assert "+WEIGHT = 7.0" in out


def test_a_page_of_a_run_escapes_what_models_write(improved, view):
    report = report_of(improved, view).say("<script>alert(1)</script>")
    assert "<script>" not in page_of(report)


def told(view, kind, generation=1, replayed=False, seconds=1.0, **data):
    """One more event of the run that the view shows."""
    sequence = len(view.history.curve) + len(view.history.scored) + view.replayed + int(seconds)
    view.on_event(Event(sequence, kind, generation, None, data, seconds, replayed))


def test_refusals_and_failures_are_told_as_they_happen(view, capsys):
    refusals = [{"line": 3, "code": "x", "reason": "while has no bound.", "mend": "Use range."}]
    told(view, EventKind.CANDIDATE_REFUSED, refusals=refusals)
    for second in (2, 3, 4):
        told(view, EventKind.PROPOSER_FAILED, seconds=second, proposer="openai/x",
             reason="Too slow.", left_out=True)
    assert any("while has no bound. Use range." in line for line in view.lines())
    err = capsys.readouterr().err
    assert err.count("openai/x: Too slow.") == 1
    assert err.count("openai/x is left out") == 1


def test_what_goes_on_now_is_shown_until_it_is_over(view):
    view.asking("openai/x", 3, 16)
    view.scoring(2, 12, "screen")
    view.waiting("openai/x is overloaded", 60.0)
    shown = "\n".join(view.lines())
    for words in ("asking openai/x, 3 of 16", "scored 2 of 12 (screen)", "openai/x is overloaded"):
        assert words in shown
    told(view, EventKind.ANSWERED, answers=1, tokens=1200, price_usd=0.5)
    told(view, EventKind.EVALUATED, seconds=2.0, rung="screen", jobs=12, cost=12)
    shown = "\n".join(view.lines())
    assert "asking" not in shown
    assert "scored 2" not in shown
    assert "1,200 tokens, $0.500" in shown


def test_a_resumed_run_says_that_its_record_is_replayed(view, capsys):
    told(view, EventKind.ANSWERED, replayed=True, seconds=40.0)
    assert view.lines()[0].startswith("replaying the record, 1 events")
    told(view, EventKind.ANSWERED, seconds=41.0)
    assert "went through 1 recorded event again" in capsys.readouterr().err
    assert "replaying" not in view.lines()[0]


def test_the_bar_is_of_the_limit_that_ends_the_run_first():
    spent = Spent(evaluations=10, seconds=30, tokens=900, price_usd=0.1)
    limits = Limits(evaluations=100, seconds=60, tokens=1000, price_usd=1.0)
    assert nearest(limits, spent) == (0.9, "1,000 tokens")


def test_a_person_sees_the_run_move(home, bowls, lines, humans):
    screen = Screen()
    screen.err = Console(file=io.StringIO(), force_terminal=True, width=100)
    limits = Limits(evaluations=60)
    with EvolveView.on(screen, limits) as view:
        Search(bowls(), [lines], humans, limits, SearchSettings(seed=1, batch=8), (view,),
               progress=view).run()
        shown = "\n".join(view.lines())
    for words in ("best baseline", "best candidate", "proposers", "of 60 evals", "% of the budget"):
        assert words in shown
    assert "scoring what people wrote" in screen.err.file.getvalue()  # as it was first drawn


def test_nobody_watching_reads_a_line_a_generation(view, capsys, bowls, lines, humans):
    Search(bowls(), [lines], humans, Limits(evaluations=40), SearchSettings(batch=8), (view,)).run()
    assert "generation 1: best -" in capsys.readouterr().err


@pytest.mark.parametrize(("outcome", "step"), [
    (Outcome.NO_CHANGE, "--budget-seconds 300 --model PROVIDER/NAME"),
    (Outcome.NOT_ENOUGH, "evolver evolve LONGER_TRACE"),
])
def test_the_next_step_fits_the_verdict(improved, view, outcome, step):
    verdict = replace(improved.result.verdict, outcome=outcome)
    lost = replace(improved, policy=None, result=replace(improved.result, verdict=verdict))
    steps = next_steps(lost, Path("day.npz"), view)
    assert any(step in line for line in steps)
    assert "evolver run show ffffffffffff" in steps


def test_written_constants_survive_reading_the_canonical_text_again(policy_file):
    source = written(policy_file.read_text(), {"WEIGHT": 7.9})
    assert verify(source.canonical).parameters() == {"WEIGHT": 7.9}
    assert verify(source.canonical).digest() == source.digest()


def test_equal_sources_have_no_diff():
    assert diff_text("a\n", "a\n", "x", "y") == "the sources are equal"
