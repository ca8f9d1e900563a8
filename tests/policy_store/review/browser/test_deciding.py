"""Deciding in a browser: with scripts and without, by keys alone, on a phone, side by side."""

import re

import pytest
from playwright.sync_api import Page, expect
from scene import PASSWORD, RULE

from policy_store.records import Alias, Role

FOCUSED = "document.activeElement.id || document.activeElement.textContent.trim()"
RING = "getComputedStyle(document.activeElement).outlineStyle"
MOST_TABS = 120
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
FINGER_PX = 44


def decide(page: Page, verb: str, note: str) -> None:
    form = page.locator(f"#decide-{verb}")
    form.get_by_label("Why").fill(note)
    form.get_by_role("button").click()


def told(page: Page, words: str) -> None:
    expect(page.locator(".said")).to_contain_text(words)


@pytest.mark.parametrize("desk", ["nobody"], indirect=True)
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_from_the_first_link_through_a_canary_to_a_rollback(desk, scripts):
    page = desk.seat(java_script_enabled=scripts)
    page.goto(f"/welcome/{desk.store.accounts.first_link(by='root')}")
    page.get_by_label("Name").fill("ada")
    for label in ("New password", "The same again"):
        page.get_by_label(label).fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    page.get_by_role("link", name="Signed in as").click()
    page.get_by_role("button", name="Sign out").click()
    told(page, "You are signed out.")

    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="considerate-completion").click()
    expect(page.locator("#verdict-sentence")).to_contain_text("% shorter than under")
    expect(page.locator("#guardrails")).to_contain_text("No guardrail broken: 6 kept, 1 not run")
    expect(page.locator("#really")).to_contain_text("What the code says")
    assert page.locator("table.windows tbody tr").count() == 19
    page.locator("#decide-canary").get_by_label("Share of traffic").fill("0.1")
    decide(page, "canary", "every rival beaten")
    told(page, "runs as canary now")
    assert desk.store.slot(Alias.CANARY).weight == 0.1
    decide(page, "promote", "a calm hour as canary")
    told(page, "is active, as sequence")
    assert desk.state("considerate-completion") == "active"

    page.get_by_role("link", name="Queue").click()
    page.get_by_role("button", name="Roll back").click()
    told(page, "is active again")
    assert desk.store.slot().digest == desk.known["soonest-completion"]
    note = desk.store.history(desk.known["considerate-completion"])[-1].note
    assert note == "Rolled back in one click from /."

    page.get_by_role("link", name="Queue").click()
    page.get_by_role("link", name="greedy-batch").click()
    expect(page.locator("#verdict-sentence")).to_be_visible()
    decide(page, "reject", "first tokens come late")
    told(page, "is rejected")
    assert desk.store.history(desk.known["greedy-batch"])[-1].note == "first tokens come late"


def test_by_keys_alone_from_sign_in_to_an_approval(desk):
    page = desk.seat()
    page.goto("/")
    page.keyboard.type("ben")
    tab_to(page, "password")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Waiting for a decision")
    page.keyboard.press("j")
    assert page.evaluate(FOCUSED) == "considerate-completion"
    page.keyboard.press("Enter")
    expect(page.locator("#verdict-sentence")).to_be_visible()
    tab_to(page, "Decide")
    page.keyboard.press("Enter")
    tab_to(page, "decide-approve-note")
    page.keyboard.type("evidence is clean")
    tab_to(page, "Approve")
    page.keyboard.press("Enter")
    told(page, "is approved.")
    assert desk.store.history(desk.known["considerate-completion"])[-1].actor == "ben"


def tab_to(page: Page, target: str) -> None:
    """Go on by Tab; wherever it stops, one sees where."""
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        found, ring = page.evaluate(f"[{FOCUSED}, {RING}]")
        assert ring != "none", f"{found} has the focus, and nobody sees it"
        if found == target:
            return
    raise AssertionError(f"{target} is not reached in {MOST_TABS} steps")


def test_a_thumb_on_a_phone_takes_the_active_policy_back(desk):
    page = desk.seat("ben", **PHONE)
    page.goto("/runs")
    button = page.get_by_role("button", name="Roll back")
    place = button.bounding_box()
    assert place["height"] >= FINGER_PX
    assert place["y"] + place["height"] <= PHONE["viewport"]["height"]
    page.get_by_role("button", name="Menu").tap()
    expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
    page.keyboard.press("Escape")
    button.tap()
    told(page, "is active again")
    assert desk.state("soonest-completion") == "rolled_back"


def test_of_two_who_decide_at_once_the_second_is_told_what_changed(desk):
    ada, ben = desk.seat("ada"), desk.seat("ben")
    for page in (ada, ben):
        page.goto(desk.address("lower-knee"))
    decide(ada, "canary", "small and safe")
    told(ada, "runs as canary now")
    desk.expected.append("409")
    decide(ben, "reject", "not worth it")
    expect(ben.locator(".refused")).to_contain_text("was evaluated and is canary now")
    assert desk.state("lower-knee") == "canary"
    assert desk.store.history(desk.known["lower-knee"])[-1].actor == "ada"


def test_a_viewer_reads_and_cannot_decide(desk):
    page = desk.seat("vic")
    page.goto(desk.address("considerate-completion"))
    expect(page.locator("#decide-canary")).to_contain_text("vic may read, not decide.")
    for button in page.locator("form[method=post] button").all():
        expect(button).to_be_disabled()


def test_the_queue_follows_what_others_decide_without_a_reload(desk):
    page = desk.seat("ben")
    page.goto("/")
    page.evaluate("window.same = true")
    with page.expect_response("**/"):  # the page asks again, when the stream has said so
        desk.store.reject(desk.known["greedy-batch"], "ada", "first tokens come late")
    expect(page.get_by_role("link", name="greedy-batch")).to_have_count(0)
    expect(page.locator("#announcer")).to_have_text("The queue has changed.")
    expect(page).to_have_title(re.compile(r"^\(4\) Queue"))
    assert page.evaluate("window.same")


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_the_explorer_answers_for_another_fleet(desk, scripts):
    page = desk.seat("vic", java_script_enabled=scripts)
    page.goto(desk.address("two-choices", "/explore?queued_requests-0=0"))
    mine = page.locator("tr.pick").first
    before = mine.inner_text()
    for number in page.get_by_label(re.compile("(waiting|queued).* of instance 0", re.I)).all():
        number.fill("99")
    if not scripts:
        page.get_by_role("button", name="Ask the policies").click()
    expect(mine).not_to_have_text(before, use_inner_text=True)


def test_a_rule_is_read_out_before_it_is_installed_and_goes_again(desk):
    page = desk.seat("ada")
    page.goto("/rules")
    page.get_by_label("The rule, as TOML").fill(RULE.replace("constants-to", "mine-to"))
    page.get_by_role("button", name="Read it").click()
    expect(page.locator("#sentence")).to_contain_text("5 %")
    page.locator("#install").get_by_label("Why").fill("tried for a week")
    page.get_by_role("button", name="Install rule mine-to-canary").click()
    card = page.locator("#rule-mine-to-canary")
    card.get_by_text("Remove it").click()
    card.get_by_label("Why").fill("we look at each again")
    card.get_by_role("button").click()
    expect(page.locator("#removed")).to_contain_text("mine-to-canary")
    assert [one.name for one in desk.store.rules.installed()] == ["constants-to-canary"]


def test_what_a_page_asks_of_elsewhere_is_noticed(desk):
    page = desk.seat("vic")
    desk.store.accounts.set_role("vic", Role.REVIEWER, by="root")
    page.goto("/live")
    page.evaluate("""() => new Promise((done) => {
        const picture = new Image();
        picture.onerror = picture.onload = done;
        picture.src = 'http://192.0.2.1/x.png';
    })""")
    assert any("192.0.2.1" in problem for problem in desk.problems)
    desk.problems.clear()
