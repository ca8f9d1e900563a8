"""What is live, in words for every case, and the decisions taken there."""

from datetime import UTC, datetime, timedelta

import pytest

from policy_store.records import Alias, Ejection, HostReport, Role


@pytest.fixture
def browser(reviewing):
    return reviewing.as_("ada")


def test_with_nothing_decided_every_place_says_so(browser):
    html = browser.get("/live").text
    for sentence in ("built-in default policy, which needs no approval", "No canary:", "No shadow:",
                     "No host has reported yet.", "Nothing has been decided"):  # fmt: skip
        assert sentence in html
    assert 'action="/roll-back"' not in html


def test_what_is_live_with_who_decided_it_and_why(reviewing, browser, measured):
    policy, trial = measured(name="mine"), measured(name="next")
    reviewing.decide(policy, "approve")
    reviewing.decide(policy, "promote", note="a clear gain")
    reviewing.decide(trial, "canary", weight="0.2")
    html = browser.get("/live").text
    assert "ada made <a" in html
    assert "a clear gain" in html
    assert "20 %" in html
    assert "valid until" in html


def test_hosts_say_what_they_run_and_what_they_threw_out(reviewing, browser, measured, store):
    policy = measured()
    reviewing.decide(policy, "approve")
    reviewing.decide(policy, "promote")
    now = datetime.now(UTC)
    gone = Ejection("e" * 64, 1, "LATENCY", "<b>slow</b>", now)
    counts = {"decisions": 1000.0, "fallbacks": 5.0, "processes": 3}
    for host, sequence, seen_at in (("h-current", 1, now), ("h-behind", 0, now),
                                    ("h-silent", 1, now - timedelta(hours=1))):  # fmt: skip
        store.report_host(HostReport(host, "default", sequence, policy, seen_at, (gone,), counts))
    html = browser.get("/live").text
    for words in ("current", "1 sequence behind", "silent", "0.5 %", "3 processes", "&lt;b&gt;slow",
                  "latency"):  # fmt: skip
        assert words in html
    assert "<b>slow" not in html


def report(store, host, facts, *, ejections=(), age=timedelta(0)):
    now, sequence = datetime.now(UTC), store.snapshot().sequence
    store.report_host(HostReport(host, "default", sequence, None, now - age, ejections, facts))


def test_what_hosts_say_of_a_canary_is_shown_and_nothing_else_is(
    reviewing, browser, measured, store
):
    trial = measured(name="next")
    reviewing.decide(trial, "approve")
    reviewing.decide(trial, "canary", weight="0.2")
    facts = {"canary": trial, "trial_decisions": 400, "canary_decisions": 60,
             "canary_requests": 55, "control_requests": 50, "canary_standing": "open",
             "canary_evidence": 3.5, "canary_advantage": 1.0, "canary_proof": 100.0}  # fmt: skip
    report(store, "of another", facts | {"canary": "f" * 64})
    report(store, "silent", facts, age=timedelta(hours=1))
    html = browser.get("/live").text
    assert "no host has said that it runs it" in html
    assert "nothing was reported" in html
    report(store, "gpu-1", facts)
    report(store, "gpu-2", facts | {"trial_decisions": 600, "canary_decisions": 140})
    html = browser.get("/live").text
    for words in ("20 %", "1,000 decisions on 2 hosts", "not known yet", "3.5 of 100", "15.0 %",
                  "current"):  # fmt: skip
        assert words in html
    assert "this store has not given" not in html
    report(store, "gpu-2", facts | {"canary_advantage": 250.0})
    assert "better" in browser.get("/live").text
    gone = (Ejection(trial, store.slot().sequence + 1, "REGRESS", "slower", datetime.now(UTC)),)
    report(store, "gpu-2", {}, ejections=gone)
    report(store, "gpu-1", facts | {"canary_standing": "worse"})
    html = browser.get("/live").text
    assert "worse" in html
    assert "by gpu-2" in html


def test_what_hosts_say_of_a_shadow_is_shown(reviewing, browser, measured, store):
    trial = measured(name="next")
    reviewing.decide(trial, "approve")
    reviewing.decide(trial, "shadow")
    assert "no host has said that it asks it" in browser.get("/live").text
    facts = {"shadow": trial, "shadow_agree": 90, "shadow_differ": 9, "shadow_fault": 1,
             "shadow_live_s": 10.0, "shadow_shadow_s": 9.0}  # fmt: skip
    report(store, "gpu-1", facts)
    html = browser.get("/live").text
    for words in ("90 %", "100 decisions on 1 host", "failed on 1", "10 % less time"):
        assert words in html


def test_counts_that_make_no_sense_are_left_out(browser, store):
    facts = {"decisions": -5.0, "fallbacks": 3.0, "processes": "many", "behind": "x"}
    store.report_host(HostReport("h", "default", 0, None, datetime.now(UTC), (), facts))
    assert "-5" not in browser.get("/live").text


def test_other_deployments_are_shown_and_not_decided_for(reviewing, browser, measured, store):
    policy = measured()
    reviewing.decide(policy, "approve")
    store.activate(policy, 0, "ben", "there first", deployment="eu <west>")
    html = browser.get("/live?deployment=eu+%3Cwest%3E").text
    assert "is only shown" in html
    assert "there first" in html
    assert 'action="/live/renew"' not in html
    assert browser.get("/live?deployment=nowhere").status_code == 422


def test_a_term_is_renewed_with_a_reason(reviewing, browser, measured, store):
    policy = measured()
    reviewing.decide(policy, "approve")
    reviewing.decide(policy, "promote")
    form = reviewing.form("/live", "/live/renew")
    assert browser.post("/live/renew", data=form).status_code == 422
    answer = browser.post("/live/renew", data=form | {"note": "still good"})
    assert "is renewed" in answer.text
    assert store.slot().sequence == 2
    assert reviewing.published.times == 2 + 1


def test_after_one_click_more_can_be_said(reviewing, browser, measured, store):
    policy = measured()
    reviewing.decide(policy, "approve")
    reviewing.decide(policy, "promote")
    form = reviewing.form("/live", "/roll-back")
    assert form["note"]
    answer = browser.post("/roll-back", data=form)
    assert 'action="/live/remark"' in answer.text
    more = reviewing.form("/live", "/live/remark") | {"note": "p99 doubled"}
    assert "p99 doubled" in browser.post("/live/remark", data=more).text
    assert store.history(policy)[-1].action == "remarked"


def test_a_trial_is_ended_or_promoted_from_here(reviewing, browser, measured, store):
    policy = measured()
    reviewing.decide(policy, "canary")
    address = f"/policies/{policy}/end"
    form = reviewing.form("/live", address) | {"note": "enough seen"}
    assert browser.post(address, data=form).status_code == 200
    assert store.slot(Alias.CANARY).digest is None


def test_viewers_see_all_of_it_and_decide_nothing(reviewing, measured):
    reviewing.as_("ada")
    policy = measured()
    reviewing.decide(policy, "approve")
    reviewing.decide(policy, "promote")
    browser = reviewing.as_("vic", Role.VIEWER)
    html = browser.get("/live").text
    assert html.count("vic may read, not decide.") == 2
    form = reviewing.form("/live", "/live/renew") | {"note": "x"}
    for address in ("/live/renew", "/live/remark", "/roll-back"):
        assert browser.post(address, data=form).status_code == 403
