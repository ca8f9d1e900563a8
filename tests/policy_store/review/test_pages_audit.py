"""The audit log on the page: found, checked and taken along."""

import json
import sqlite3

from policy_store import PolicyStore
from policy_store.audit import AuditLog
from policy_store.records import AuditVerdict


def test_entries_say_who_did_what_and_why(reviewing, measured):
    browser = reviewing.as_("ada")
    policy = measured(name="<b>mine</b>")
    reviewing.decide(policy, "approve", note="<i>good</i>")
    html = browser.get("/audit").text
    assert "ada approved <a" in html
    assert "&lt;i&gt;good" in html
    assert "<i>good" not in html
    evidence = reviewing.site.store.show(policy).evidence[0].digest
    assert f"evidence {evidence}" in html


def test_entries_are_found_by_person_action_and_policy(reviewing, measured):
    browser = reviewing.as_("ada")
    one, other = measured(), measured()
    reviewing.decide(one, "approve")
    reviewing.decide(other, "reject")
    by_ada = browser.get("/audit?actor=ada").text
    assert by_ada.count("data-key-row") == 2
    assert browser.get("/audit?action=rejected").text.count("data-key-row") == 1
    assert browser.get(f"/audit?subject={one[:10]}").text.count("data-key-row") == 4
    assert "No entry is like that." in browser.get("/audit?subject=nobody").text
    assert browser.get("/audit?actor=%00").status_code == 422


def test_old_entries_are_behind_a_link(reviewing, measured):
    browser = reviewing.as_("ada")
    for _ in range(20):
        measured()
    html = browser.get("/audit").text
    assert html.count("data-key-row") == 50
    older = browser.get("/audit?before=11").text
    assert older.count("data-key-row") == 10
    assert "Newest" in older
    assert browser.get("/audit?before=99999999999").status_code == 422


def test_an_entry_has_a_page_of_its_own(reviewing, measured):
    browser = reviewing.as_("ada")
    measured()
    entry = reviewing.site.store.audit.entries(limit=1)[0]
    assert entry.hash in browser.get("/audit/1").text
    for missing in ("/audit/99", "/audit/0", "/audit/99999999999"):
        assert browser.get(missing).status_code == 404


def test_the_chain_is_checked_against_a_hash_kept_elsewhere(reviewing, measured):
    browser = reviewing.as_("ada")
    measured()
    head = reviewing.site.store.audit.head()[1]
    assert "entries are as they were written" in browser.get("/audit/verify").text
    assert "the hash you kept is among them" in browser.get(f"/audit/verify?head={head}").text
    assert "was rewritten" in browser.get(f"/audit/verify?head={'a' * 64}").text
    assert browser.get("/audit/verify?head=abc").status_code == 422


def test_an_altered_entry_is_named(reviewing, measured, store_path):
    browser = reviewing.as_("ada")
    measured()
    with sqlite3.connect(store_path) as database:
        for (trigger,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'"
        ).fetchall():
            database.execute(f"DROP TRIGGER {trigger}")
        database.execute("UPDATE audit SET actor = 'mallory' WHERE sequence = 2")
    html = browser.get("/audit/verify").text
    assert "not as it was written" in html
    assert 'href="/audit/2"' in html


def test_the_log_is_checked_for_one_at_a_time(reviewing, monkeypatch):
    browser = reviewing.as_("ada")
    answers = []

    def meanwhile(*_):
        answers.extend(map(browser.get, ("/audit/verify", "/api/v1/audit/verification")))
        return AuditVerdict(0, "", None, "")

    monkeypatch.setattr(AuditLog, "verify", meanwhile)
    assert browser.get("/audit/verify").status_code == 200
    assert [(one.status_code, one.headers["retry-after"]) for one in answers] == [(429, "1")] * 2


def test_the_export_is_the_whole_log_and_can_be_checked(reviewing, measured, monkeypatch):
    browser = reviewing.as_("ada")
    measured()
    measured()
    monkeypatch.setattr("policy_store.review.pages_audit.READ_AT_ONCE", 4)
    answer = browser.get("/audit/export")
    assert answer.headers["content-type"].startswith("application/json")
    document = json.loads(answer.text)
    store: PolicyStore = reviewing.site.store
    assert [entry["sequence"] for entry in document["log"]] == list(range(1, 7))
    assert document["head"] == document["log"][-1]["hash"] == store.audit.head()[1]


def test_an_empty_log_says_so(reviewing):
    browser = reviewing.as_("ada")
    assert "Nothing has happened yet." in browser.get("/audit").text
    assert json.loads(browser.get("/audit/export").text)["log"] == []
