"""`evolver run`: lists, one run, several side by side, files; hostile texts and unknown ids."""

import json
import re
from html.parser import HTMLParser

import pytest
from recorded_run import EXCHANGE, record_run

from evolver.cli.policies import open_store, store_path
from evolver.proposer import Proposal

HOSTILE = "<script>alert(1)</script>\x1b[31m & \"quoted\" 'too'"


class Vandal:
    """Writes what a page must not believe."""

    name = "</title><img src=x onerror=alert(1)>"
    waits = False

    def propose(self, request):
        return Proposal(HOSTILE, self.name, HOSTILE, (request.parent.digest,))


@pytest.fixture(scope="module")
def kept():
    """The store of the first test that needs one, for all of them."""
    return {}


@pytest.fixture
def runs(home, kept, bowls, lines, humans):
    """Two finished runs on different traces, and one that was stopped; oldest first."""
    if kept:
        home.mkdir()
        store_path().write_bytes(kept["store"])
        return kept["runs"]
    with open_store() as store:
        kept["runs"] = [
            record_run(store, bowls(), [lines, Vandal()], humans),
            record_run(store, bowls(), [lines], humans, seed=2, trace="cd" * 32),
            record_run(store, bowls(), [lines], humans, seed=3, stop_after=12),
        ]
    kept["store"] = store_path().read_bytes()
    return kept["runs"]


def test_a_list_says_how_each_ended_and_how_to_go_on(evolver, runs):
    told = evolver("run", "list")
    assert [line[:12] for line in told.out.splitlines() if re.match("[0-9a-f]{12}", line)] == [
        run[:12] for run in reversed(runs)]
    assert "unfinished" in told.out
    assert f"evolver evolve --resume {runs[2][:12]}" in told.err


def test_a_list_is_the_same_for_programs(evolver, runs):
    document = evolver("run", "list", "-o", "json").json
    assert document["schema"] == 1
    assert [run["resumable"] for run in document["runs"]] == [True, False, False]
    assert all(run["gain_in_search"] > 0 for run in document["runs"][1:])


def test_a_run_is_shown_in_full(evolver, runs):
    out = evolver("run", "show", runs[0][:6]).out
    for part in ("A better policy was found.", "Best so far", "Whom it had to beat",
                 "How the winner came about", "Which proposer earned what",
                 "Why tries came to nothing", "syntax", "EndpointSlow"):
        assert part in out
    assert "\x1b[31m" not in out


def test_an_unfinished_run_says_how_to_go_on(evolver, runs):
    told = evolver("run", "show", "last")
    assert f"resume it with: evolver evolve --resume {runs[2][:12]}" in told.out


def test_a_document_of_a_run_holds_its_history(evolver, runs):
    document = evolver("run", "show", runs[0], "-o", "json").json
    assert document["winner"] in {one["digest"] for one in document["candidates"]}
    assert document["curve"][-1]["gain"] > document["curve"][0]["gain"]
    assert {line["proposer"] for line in document["proposers"]} >= {"lines", Vandal.name}


def test_runs_on_different_traces_are_compared_with_a_warning(evolver, runs):
    told = evolver("run", "compare", runs[0], runs[1])
    assert "They differ in trace" in told.out
    assert "What a gain took" in told.out
    document = evolver("run", "compare", runs[0], runs[1], "-o", "json").json
    assert set(document["differences"]) == {"trace", "seed"}
    assert document["reached"][0]["spent"][0]["evaluations"] >= 0


def test_loads_that_each_seed_measured_a_little_apart_are_compared(evolver, home, bowls, lines,
                                                                    humans):
    load = {"load": 0.8, "offered_rps": 6.64}
    with open_store() as store:
        for seed, trace, offered in ((1, "ab", 6.64), (2, "cd", 6.65)):
            record_run(store, bowls(), [lines], humans, seed=seed, trace=trace * 32,
                       load={**load, "offered_rps": offered})
        one, other = (run.id for run in store.runs.list_runs())
    told = evolver("run", "compare", one, other).out
    assert "loads within 2%: their gains can be compared" in told
    assert "6.640 requests/s, 80% of capacity" in told


class Tags(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open = set(), set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_page_of_a_run_is_whole_and_nothing_in_it_runs_or_is_fetched(evolver, runs, tmp_path):
    path = tmp_path / "run.html"
    assert evolver("run", "export", runs[0], "-o", path).code == 0
    page = Tags(path.read_text())
    assert page.open == []
    assert {"svg", "details", "table", "pre"} <= page.tags
    assert not page.tags & {"script", "img", "link", "iframe", "object", "a"}
    assert not {name for name in page.attributes if name.startswith("on")} | (
        page.attributes & {"src", "href"})
    assert "default-src 'none'" in path.read_text()


def test_raw_events_leave_prompts_out_unless_asked(evolver, runs, tmp_path):
    path = tmp_path / "events.jsonl"
    evolver("run", "export", runs[0], "-o", path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0]["run"] == runs[0]
    assert [line["row"] for line in lines[1:]] == list(range(1, len(lines)))
    assert "SECRET" not in path.read_text()
    evolver("run", "export", runs[0], "-o", path, "--with-prompts")
    assert EXCHANGE["reply"] in path.read_text()


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("show", "abcdef"), "There is no run abcdef: check the id with `evolver run list`."),
    (("show", "%"), "'%' is no run"),
    (("compare", "last"), "Give two to"),
    (("export", "last", "-o", "run.txt"), "says no form"),
])
def test_what_cannot_be_meant_is_refused(evolver, runs, arguments, sentence):
    done = evolver("run", *arguments)
    assert done.code == 2
    assert sentence in done.err


def test_without_any_run_the_first_step_is_named(evolver):
    assert "No run is stored yet." in evolver("run", "list").out
    assert "evolver evolve TRACE" in evolver("run", "show").err


def test_the_proof_is_told_with_every_rival_and_the_guardrails(evolver, runs):
    told = evolver("run", "show", runs[0][:8]).out
    proof = told[told.index("The proof") :]
    assert re.search(r"best untuned +\d+.\d% +\d+.\d% \.\. \d+.\d%", proof)
    assert "guardrails kept: none" in proof
