"""The last hour under a policy: replayed in the background, kept, shown, and nothing decided."""

import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from close_up_record import RECORD

from evolver.cli.failures import Misused
from evolver.cli.review_site import recent_requests
from policy_store.lifecycle import State
from policy_store.records import Kind, Role
from policy_store.review import last_hours
from policy_store.review.last_hours import LastHours, Recent, Stage, recent_of, scenario_of, shown
from policy_store.review.submission import Busy
from sandbox.close_up import CloseUp, Why
from sandbox.cluster import load_cluster
from sandbox.policies import default_source
from serving_adapter.gateway.request_file import RequestFile
from serving_adapter.request_log import RequestOutcome, RequestRecord
from telemetry.errors import ReadError
from telemetry.generator import generate
from telemetry.profile import load_profile

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TRACE = generate(load_profile("azure2023_conv"), n=60, seed=4)


def recent(trace=TRACE):
    return Recent(trace, load_cluster("edge-8b"), BEGAN)


@pytest.fixture
def with_log(reviewing):
    def give(read):
        app = reviewing.browser.app
        app.state.site = reviewing.site = replace(reviewing.site, recent=read)
        return reviewing

    return give


def wait_for(app, policy):
    thread = app.state.last_hours._thread
    if thread is not None:
        thread.join(60)
    return app.state.last_hours.progress(policy)


def test_the_last_hour_is_replayed_kept_and_shown(with_log, measured):
    reviewing = with_log(recent)
    policy, browser = measured(parameters={}), reviewing.as_("ada")
    address = f"/policies/{policy}/last-hour"
    assert "Nobody has replayed" in browser.get(address).text
    sent = browser.post(address, data=reviewing.form(address, address), follow_redirects=False)
    assert sent.status_code == 303
    progress = wait_for(browser.app, policy)
    assert (progress.stage, progress.sentence[:7]) == (Stage.DONE, "It took")
    (record,) = reviewing.site.store.show(policy).of_kind(Kind.LAST_HOUR)
    close_up = CloseUp.from_document(record.document)
    assert (close_up.candidate, close_up.active) == (policy, default_source().digest())
    assert close_up.windows[0].why is Why.LAST_HOUR
    html = browser.get(address).text
    assert "The mean end-to-end time would have been" in html
    assert "2026-01-02 03:04" in html
    assert "not active any more" not in html
    history = reviewing.site.store.history(policy)
    assert (history[-1].action, history[-1].actor) == ("last_hour_attached", "ada")
    assert reviewing.site.store.show(policy).version.state is State.EVALUATED
    assert reviewing.published.times == 0


def test_while_it_runs_the_page_says_so_and_looks_again(with_log, measured):
    going = threading.Event()
    reviewing = with_log(lambda: going.wait(30) and None)
    policy, other, browser = measured(), measured(), reviewing.as_("ada")
    for one in (policy, other, other):
        address = f"/policies/{one}/last-hour"
        fields = {"csrf": "csrf-of-ada"}
        assert browser.post(address, data=fields, follow_redirects=False).status_code == 303
    page, behind = (browser.get(f"/policies/{one}/last-hour") for one in (policy, other))
    assert "It runs since" in page.text or "It waits" in page.text
    assert "It waits for another replay" in behind.text
    assert page.headers["refresh"] == f"2; url=/policies/{policy}/last-hour"
    assert "<form id=" not in behind.text
    going.set()
    assert wait_for(browser.app, other).stage is Stage.FAILED
    page = browser.get(f"/policies/{other}/last-hour")
    assert "fewer than 20 requests" in page.text
    assert "refresh" not in page.headers


def test_so_many_may_wait_and_no_more(with_log, measured):
    going = threading.Event()
    reviewing = with_log(lambda: going.wait(30) and None)
    browser = reviewing.as_("ada")
    codes = [
        browser.post(
            f"/policies/{measured()}/last-hour",
            data={"csrf": "csrf-of-ada"},
            follow_redirects=False,
        ).status_code
        for _ in range(last_hours.MOST_WAITING + 3)
    ]
    going.set()
    assert codes[0] == 303
    assert codes[-1] == 429


def test_without_a_log_the_page_says_what_to_start(reviewing, measured):
    policy, browser = measured(), reviewing.as_("ada")
    address = f"/policies/{policy}/last-hour"
    html = browser.get(address).text
    assert "evolver serve --request-log" in html
    assert "start-replay" not in html
    assert browser.post(address, data={"csrf": "csrf-of-ada"}).status_code == 422


def test_a_viewer_reads_and_starts_nothing(with_log, measured):
    reviewing = with_log(recent)
    policy, browser = measured(), reviewing.as_("vic", Role.VIEWER)
    address = f"/policies/{policy}/last-hour"
    assert "start-replay" not in browser.get(address).text
    assert browser.post(address, data={"csrf": "csrf-of-vic"}).status_code == 403
    assert not hasattr(browser.app.state, "last_hours") or (
        browser.app.state.last_hours.progress(policy) is None
    )


@pytest.mark.parametrize("document", [
    {"windows": "<script>alert(1)</script>"},
    {**RECORD.document(), "windows": [{**RECORD.document()["windows"][0],
                                       "start_s": 9e15 - 10, "stop_s": 9e15}]},
])  # fmt: skip
def test_a_document_that_is_none_is_said_and_never_shown(reviewing, measured, document):
    policy, browser = measured(), reviewing.as_("ada")
    reviewing.site.store.attach_evidence(policy, document, "mallory", Kind.LAST_HOUR)
    answer = browser.get(f"/policies/{policy}/last-hour")
    assert answer.status_code == 200
    assert 'id="problem"' in answer.text
    assert "alert(1)" not in answer.text


def test_a_log_that_cannot_be_read_is_said(with_log, measured):
    def unreadable():
        raise ReadError("The log is damaged; download it again.")

    reviewing = with_log(unreadable)
    policy, browser = measured(), reviewing.as_("ada")
    browser.post(f"/policies/{policy}/last-hour", data={"csrf": "csrf-of-ada"})
    assert wait_for(browser.app, policy).sentence.startswith("The log is damaged")
    assert "The log is damaged" in browser.get(f"/policies/{policy}/last-hour").text


def test_what_nobody_foresaw_is_said_and_the_next_one_runs(store, measured, caplog):
    answers = iter([ValueError("no words for pages"), ReadError("The log is gone.")])

    def read():
        raise next(answers)

    hours = LastHours(store, "default", read)
    policy, other = measured(), measured()
    for one in (policy, other):
        hours.start(one, "ada")
    while (progress := hours.progress(other)).goes_on:
        pass
    assert progress.sentence == "The log is gone."
    assert "nobody foresaw" in hours.progress(policy).sentence
    assert "no words for pages" not in hours.progress(policy).sentence
    hours.close()
    with pytest.raises(Busy):
        hours.start(policy, "ada")


def test_the_end_of_a_real_log_is_what_is_replayed(tmp_path):
    path = tmp_path / "requests.jsonl"
    read = recent_of(path, "edge-8b")
    assert read() is None
    with closing(RequestFile(path)) as log:
        for k in range(100):
            log(RequestRecord(
                arrived_unix_s=1.7e9 + 100.0 * k, endpoint="chat", outcome=RequestOutcome.OK,
                status=200, stream=True, prompt_tokens=k + 1, output_tokens=9, usage=True,
                tenant=0, session=-1, attempts=1, instance_id=0, sequence=1, digest="d" * 64,
                waited_s=0.1, ttft_s=0.2, e2e_s=1.0,
            ))  # fmt: skip
    found = read()
    window = scenario_of(found)
    assert found.trace.prompt_tokens.tolist() == list(range(62, 101))
    assert window.stop_s == pytest.approx(1.7e9 + 9900.0, abs=1.0)
    assert window.start_s - found.began_at.timestamp() == pytest.approx(window.warmup_s)


def test_of_too_many_requests_the_last_are_replayed(monkeypatch):
    monkeypatch.setattr(last_hours, "MOST_REQUESTS", 50)
    window = scenario_of(recent())
    assert len(window.trace) == 50
    assert window.trace.prompt_tokens.tolist() == TRACE.prompt_tokens[-50:].tolist()
    assert window.stop_s == pytest.approx(BEGAN.timestamp() + TRACE.span_s)


def test_what_is_shown_is_what_is_stored(store, measured):
    policy = measured()
    assert shown(store, policy).digest == policy
    assert shown(store, None).digest == default_source().digest()


def test_a_log_and_what_serves_it_are_named_together(tmp_path):
    log = tmp_path / "requests.jsonl"
    assert recent_requests(None, None) is None
    assert recent_requests(log, "edge-8b")() is None
    for only in ((log, None), (None, "edge-8b")):
        with pytest.raises(Misused, match="--requests FILE and --cluster NAME"):
            recent_requests(*only)
