"""Runs as a list, and one in full."""

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from policy_store.records import Run
from policy_store.review import create_app
from sandbox.report import Report


@pytest.fixture
def browser(reviewing):
    told = []

    def story(run):
        told.append(run)
        return Report(run).say("<script>told</script>")

    site = replace(reviewing.site, story=story)
    reviewing.as_("ada")
    with TestClient(create_app(site), base_url=site.settings.base_url) as browser:
        browser.told = told
        yield browser


@pytest.fixture
def finished(store) -> Run:
    run = store.runs.start_run("evolve", {"trace_name": "<b>trace</b>"})
    store.runs.append_event(run.id, "scored", {})
    summary = {"evaluations": 131, "tokens": 5000, "price_usd": 0.25, "gain": 0.039}
    return store.runs.finish_run(run.id, "improved", summary)


def test_no_run_yet_is_said(browser):
    assert "No search has run yet." in browser.get("/runs").text


def test_the_list_has_what_each_run_found_and_cost(browser, finished, store):
    store.runs.start_run("evolve", {})
    html = browser.get("/runs").text
    for words in (
        "improved",
        "+3.9 %",
        "131",
        "5,000",
        "0.25 USD",
        "not finished",
        "&lt;b&gt;trace",
    ):
        assert words in html


def test_many_runs_are_read_page_by_page(browser, store):
    for _ in range(41):
        store.runs.start_run("evolve", {})
    html = browser.get("/runs").text
    after = html.split('rel="next" href="')[1].split('"')[0]
    assert browser.get(after).text.count("data-key-row") == 1


def test_a_finished_run_is_told_once_in_full(browser, finished):
    for _ in range(2):
        html = browser.get(f"/runs/{finished.id[:12]}").text
        assert "&lt;script&gt;told" in html
    assert browser.told == [finished.id]
    assert "http-equiv" not in html


def test_a_run_that_goes_on_is_told_anew_and_refreshes(browser, store):
    run = store.runs.start_run("evolve", {}).id
    for _ in range(2):
        html = browser.get(f"/runs/{run}").text
    assert browser.told == [run, run]
    assert '<noscript><meta http-equiv="refresh"' in html
    assert "data-live" in html.split('id="run"')[1].split(">")[0]


def test_a_page_without_stories_names_the_command(reviewing, finished):
    html = reviewing.as_("ada").get(f"/runs/{finished.id}").text
    assert f"evolver run show {finished.id[:12]}" in html


def test_unknown_runs_are_refused_in_words(browser):
    assert browser.get("/runs/ffffff").status_code == 404
    assert browser.get("/runs/xyz").status_code == 422
