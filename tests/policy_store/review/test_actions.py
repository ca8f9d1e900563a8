"""Decisions through the page: taken once, on what was shown, by those who may."""

from dataclasses import replace

import pytest
from measurements import SOURCE

from policy_store.errors import OwnWork
from policy_store.lifecycle import State
from policy_store.records import Alias, Origin, Role
from sandbox.evidence import Outcome


def state_of(reviewing, policy):
    return reviewing.site.store.show(policy).version.state


@pytest.mark.parametrize("store_url", ["sqlite", "postgresql"], indirect=True)
def test_a_reviewer_approves_to_canary_then_promotes_then_rolls_back(reviewing, measured):
    reviewing.as_("ada")
    policy = measured()
    assert reviewing.decide(policy, "canary", weight="0.1").status_code == 303
    assert reviewing.site.store.slot(Alias.CANARY).weight == 0.1
    assert reviewing.decide(policy, "promote").status_code == 303
    assert state_of(reviewing, policy) is State.ACTIVE
    form = reviewing.form("/", "/roll-back")
    assert (
        reviewing.browser.post("/roll-back", data=form, follow_redirects=False).status_code == 303
    )
    assert state_of(reviewing, policy) is State.ROLLED_BACK
    assert reviewing.published.times == 3


@pytest.mark.parametrize("verb", ["approve", "shadow", "canary", "reject"])
def test_a_viewer_decides_nothing(reviewing, measured, verb):
    reviewing.as_("vic", Role.VIEWER)
    policy = measured()
    assert reviewing.decide(policy, verb).status_code == 403
    assert state_of(reviewing, policy) is State.EVALUATED


def test_nobody_approves_what_they_submitted_by_hand(reviewing, measured):
    policy = measured(origin=Origin.PERSON, author="ada")
    reviewing.as_("ada", Role.ADMIN)
    assert reviewing.decide(policy, "approve").status_code == 403
    reviewing.as_("ben")
    assert reviewing.decide(policy, "approve").status_code == 303


def test_a_failed_verdict_takes_an_admin_who_says_so(reviewing, measured):
    policy = measured(Outcome.NO_CHANGE)
    reviewing.as_("ada")
    assert reviewing.decide(policy, "approve", override="true").status_code == 403
    reviewing.as_("root", Role.ADMIN)
    assert reviewing.decide(policy, "approve").status_code == 403
    assert reviewing.decide(policy, "approve", override="true").status_code == 303
    entry = reviewing.site.store.history(policy)[-1]
    assert "no change" in entry.details["override"]


def test_what_was_proved_with_more_than_the_door_tells_takes_an_admin(
    store, some_app, reviewing, measured
):
    text = SOURCE.replace("queued_requests", "prefill_backlog_tokens")
    policy, same = measured(text=text), measured(text=text, signals="gateway")
    there = some_app.state.site
    assert there is reviewing.site
    some_app.state.site = replace(there, settings=replace(there.settings, signals="gateway"))
    reviewing.as_("ada")
    refused = reviewing.decide(policy, "approve")
    assert refused.status_code == 403
    assert "gateway does not tell: Instance.prefill_backlog_tokens" in refused.text
    assert reviewing.decide(same, "canary").status_code == 303
    reviewing.as_("root", Role.ADMIN)
    assert reviewing.decide(policy, "shadow", override="true").status_code == 303
    entry = reviewing.site.store.history(policy)[-2]
    assert "does not tell" in entry.details["override"]
    snapshot = store.snapshot()
    assert (snapshot.canary.policy.signals, snapshot.shadow.signals) == ("gateway", "full")


def test_a_stale_page_is_refused_with_what_changed(reviewing, measured):
    reviewing.as_("ada")
    policy, other = measured(), measured()
    address = f"/policies/{policy}"
    shown = reviewing.form(address, f"{address}/canary") | {"note": "because"}
    reviewing.decide(other, "canary")
    late = reviewing.browser.post(f"{address}/canary", data=shown)
    assert late.status_code == 409
    assert other[:12] in late.text
    assert "canary policy was" in late.text


def test_a_form_sent_twice_counts_once(reviewing, measured):
    reviewing.as_("ada")
    policy = measured()
    address = f"/policies/{policy}"
    form = reviewing.form(address, f"{address}/approve") | {"note": "because"}
    first, second = (
        reviewing.browser.post(f"{address}/approve", data=form, follow_redirects=False)
        for _ in range(2)
    )
    assert (first.status_code, second.status_code) == (303, 409)


def test_a_form_of_another_session_or_site_is_refused(reviewing, measured):
    reviewing.as_("ada")
    policy = measured()
    assert reviewing.decide(policy, "approve", csrf="guessed").status_code == 403
    address = f"/policies/{policy}"
    form = reviewing.form(address, f"{address}/approve") | {"note": "because"}
    elsewhere = {"Origin": "http://evil.example"}
    answer = reviewing.browser.post(f"{address}/approve", data=form, headers=elsewhere)
    assert answer.status_code == 403
    assert state_of(reviewing, policy) is State.EVALUATED


def test_a_decision_without_a_reason_is_refused(reviewing, measured):
    reviewing.as_("ada")
    assert reviewing.decide(measured(), "approve", note="  ").status_code == 422


def test_strangers_are_led_to_the_sign_in_page(reviewing):
    answer = reviewing.browser.get("/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/")


def test_every_answer_has_the_strict_headers(reviewing):
    reviewing.as_("ada")
    for address in ("/", "/policies/abcdef", "/static/x/none.js"):
        policy = reviewing.browser.get(address).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


@pytest.mark.parametrize("verb", ["roll-back", "renew"])
def test_what_is_about_the_deployment_is_not_decided_on_a_policy(reviewing, measured, verb):
    reviewing.as_("ada")
    live, other = measured(), measured()
    reviewing.decide(live, "canary")
    reviewing.decide(live, "promote")
    form = reviewing.form(f"/policies/{other}", f"/policies/{other}/approve") | {"note": "because"}
    answer = reviewing.browser.post(f"/policies/{other}/{verb}", data=form)
    assert answer.status_code == 422
    assert state_of(reviewing, live) is State.ACTIVE


def test_a_name_that_looks_like_the_authors_is_the_author(reviewing, measured):
    policy = measured(origin=Origin.PERSON, author="Ada")
    reviewing.as_("ada")
    assert reviewing.decide(policy, "approve").status_code == 403
    with pytest.raises(OwnWork):
        reviewing.site.store.approve(policy, "ADA", "mine is good")


def test_another_site_links_to_pages_and_loads_nothing(reviewing):
    browser = reviewing.as_("ada")
    for site in ("cross-site", "same-site"):  # another port of this machine is the same site
        linked = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
        assert browser.get("/live", headers=linked).status_code == 200
        for mode in ("cors", "no-cors"):
            loaded = linked | {"Sec-Fetch-Mode": mode}
            assert browser.get("/events", headers=loaded).status_code == 403


def test_a_decision_is_not_repeated_by_an_old_form(reviewing, measured):
    """Rejected, approved, rejected again: the second rejection is not what the form was made on."""
    policy, browser = measured(), reviewing.as_("ada", Role.ADMIN)
    assert reviewing.decide(policy, "reject").status_code == 303
    address = f"/policies/{policy}"
    old = reviewing.form(address, f"{address}/approve") | {"note": "on second thoughts"}
    assert browser.post(f"{address}/approve", data=old, follow_redirects=False).status_code == 303
    reviewing.as_("ben")
    assert reviewing.decide(policy, "reject").status_code == 303
    reviewing.as_("ada", Role.ADMIN)
    again = browser.post(f"{address}/approve", data=old, follow_redirects=False)
    assert again.status_code == 409
    assert "decided on since" in again.text
    assert reviewing.site.store.show(policy).version.state is State.REJECTED


def test_a_decision_stands_when_hosts_cannot_be_told(reviewing, measured, monkeypatch):
    policy = measured()
    reviewing.as_("ada")
    reviewing.decide(policy, "approve")

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(reviewing.published), "__call__", lambda _: full())
    answer = reviewing.decide(policy, "promote")
    assert answer.status_code == 500
    for words in ("is active, as sequence 1", "No space left", "evolver policy publish"):
        assert words in answer.text
    assert reviewing.site.store.slot().digest == policy
