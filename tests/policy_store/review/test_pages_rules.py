"""The page of rules: read by all, changed by admins, shown in words before it takes effect."""

import pytest

from policy_store.records import Role
from policy_store.rule_application import apply_rules
from policy_store.rule_text import EXAMPLE

RULE = EXAMPLE.replace("hours_utc = [8, 17]        # from 8:00 until 17:00\n", "").replace(
    'weekdays = ["mon", "tue", "wed", "thu", "fri"]\n', 'may_be_missing = ["fairness"]\n'
).replace('touches = "constants"', 'touches = "anything"')  # fmt: skip
NOTE = "a month of these was fine"


@pytest.fixture
def installed(reviewing):
    def install(text=RULE, note=NOTE):
        browser = reviewing.as_("root", Role.ADMIN)
        form = reviewing.form("/rules", "/rules/preview")
        shown = browser.post("/rules/preview", data=form | {"text": text})
        assert shown.status_code == 200, shown.text
        return browser.post(
            "/rules", data=form | {"text": text.replace("\n", "\r\n"), "note": note},
            follow_redirects=False,
        )  # fmt: skip

    return install


def test_a_rule_is_shown_in_words_before_it_is_installed(reviewing):
    browser = reviewing.as_("root", Role.ADMIN)
    form = reviewing.form("/rules", "/rules/preview")
    html = browser.post("/rules/preview", data=form | {"text": RULE}).text
    assert "starts it as the canary with 5 % of traffic" in html
    assert "Install rule constants-to-canary" in html
    assert reviewing.site.store.rules.installed() == ()


def test_an_admin_installs_and_removes_and_both_are_audited(reviewing, installed):
    assert installed().status_code == 303
    page = reviewing.browser.get("/rules").text
    assert "Installed by root" in page
    assert "It has approved nothing yet." in page
    form = reviewing.form("/rules", "/rules/constants-to-canary/remove") | {"note": "enough"}
    removed = reviewing.browser.post(
        "/rules/constants-to-canary/remove", data=form, follow_redirects=False
    )
    assert removed.status_code == 303
    assert "Removed (1)" in reviewing.browser.get("/rules").text
    log = reviewing.site.store.audit.entries()
    assert [(one.action, one.actor, one.note) for one in log] == [
        ("rule_installed", "root", NOTE), ("rule_removed", "root", "enough"),
    ]  # fmt: skip
    assert log[0].details["text"] == RULE


@pytest.mark.parametrize("role", [Role.VIEWER, Role.REVIEWER])
def test_others_read_and_change_nothing(reviewing, installed, role):
    installed()
    browser = reviewing.as_("rev", role)
    html = browser.get("/rules").text
    assert "starts it as the canary" in html
    assert "Write a rule" not in html
    assert "Remove rule" not in html
    form = {"csrf": "csrf-of-rev", "text": RULE.replace("name = ", 'name = "b" # '), "note": "x"}
    for address in ("/rules", "/rules/preview", "/rules/constants-to-canary/remove"):
        assert browser.post(address, data=form).status_code == 403
    assert len(reviewing.site.store.rules.installed()) == 1


def test_a_form_of_another_session_installs_nothing(reviewing):
    browser = reviewing.as_("root", Role.ADMIN)
    for csrf in ("", "csrf-of-ada"):
        form = {"csrf": csrf, "text": RULE, "note": "x"}
        assert browser.post("/rules", data=form).status_code == 403
    assert reviewing.site.store.rules.installed() == ()


@pytest.mark.parametrize(
    "text", ['name = "<script>"', "# \u202e", "x = 1e309", "[" * 4000, "a" * 4097, ""]
)
@pytest.mark.parametrize("address", ["/rules", "/rules/preview"])
def test_what_is_no_rule_is_said_and_comes_back_harmless(reviewing, text, address):
    browser = reviewing.as_("root", Role.ADMIN)
    form = reviewing.form("/rules", "/rules/preview") | {"text": text, "note": "x"}
    answer = browser.post(address, data=form)
    assert answer.status_code == 422
    assert "This is no rule yet" in answer.text
    assert "<script>" not in answer.text
    assert reviewing.site.store.rules.installed() == ()


def test_a_rule_without_a_reason_or_twice_is_refused(installed):
    assert installed(note=" ").status_code == 422
    assert installed().status_code == 303
    assert installed().status_code == 409


def test_what_a_rule_did_and_why_it_did_not_is_shown(reviewing, installed, measured):
    installed()
    store = reviewing.site.store
    first = measured()
    second = measured()
    assert apply_rules(store, first).rule == "constants-to-canary"
    html = reviewing.browser.get("/rules").text
    assert f'approved <a href="/policies/{first}">' in html
    why = reviewing.browser.get(f"/rules?policy={second[:12]}").text
    assert f"{first[:12]} is the canary now." in why
    assert "does not hold" in why
    assert reviewing.browser.get("/rules?policy=ffffff").status_code == 404


def test_an_empty_page_says_who_decides(reviewing):
    assert (
        "a person decides about every policy"
        in reviewing.as_("vic", Role.VIEWER).get("/rules").text
    )
