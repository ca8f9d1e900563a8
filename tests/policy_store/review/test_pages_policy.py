"""The policy page: what it says, in which order, and that nothing hostile leaves its element."""

from __future__ import annotations

import itertools
import sqlite3
from dataclasses import replace

import pytest
from looks import looked, read
from measurements import SOURCE, measurements

from policy_store import Origin
from policy_store.records import Kind, Role
from sandbox.evidence import Gate, GateStatus, Outcome
from sandbox.profile_standing import Grade, ProfileStanding

HOSTILE = (
    '</code></td></table></pre><script>alert(1)</script><img src=x onerror="alert(2)">',
    "\u202edne\u202c \u200b\ufeff",
    "\U0001f469\u200d\U0001f52c\ufe0f x 100",
    '{{ 7 * 7 }}{% raw %} " style="color:red" onclick=\'z\'',
    "y" * 100_000,
)
SECTIONS = ("verdict", "gates", "change", "effects", "windows", "close-up", "conduct",
            "provenance", "decide", "history")  # fmt: skip


def test_sections_come_in_the_order_in_which_people_decide(reviewing, measured):
    page = read(reviewing.as_("ada").get(f"/policies/{measured()}").text)
    ids = [one.attributes.get("id") for one in page.elements]
    assert [ids.index(name) for name in SECTIONS] == sorted(ids.index(name) for name in SECTIONS)
    levels = [int(one.tag[1]) for one in page.elements if one.tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    targets = {one.attributes["href"][1:] for one in page.all("a")
               if (one.attributes.get("href") or "").startswith("#")}  # fmt: skip
    assert targets <= set(ids)
    assert len(set(ids) - {None}) == len([one for one in ids if one])


def test_the_verdict_is_worked_out_from_the_numbers(reviewing, measured, store):
    browser = reviewing.as_("ada")
    good = read(browser.get(f"/policies/{measured()}").text)
    assert "Better" in good.by_id("verdict").text
    assert "8.3 % shorter than under active" in good.by_id("verdict-sentence").text
    assert "10 sealed windows, 50 min of traffic" in good.by_id("verdict-sentence").text
    assert "No guardrail broken: 1 kept, 1 not run." in good.by_id("guardrails").text
    policy = store.propose(SOURCE, name="boasts", origin=Origin.LLM, author="m",
                           contract_version=1).digest  # fmt: skip
    store.record_verified(policy, by="v")
    record = measurements(policy)
    gates = (*record.gates, Gate("fair_<b>", GateStatus.FAIL, "tenant 3 waits"))
    slower = tuple(
        replace(one, interval=replace(one.interval, low=-0.05)) for one in record.effects
    )
    boast = replace(record, gates=gates, effects=slower)
    store.attach_evidence(policy, boast.document(), by="s")
    page = read(browser.get(f"/policies/{policy}").text)
    assert "Undecided" in page.by_id("verdict").text
    assert "calls itself improved" in page.by_id("doubts").text
    assert "1 of 3 guardrails broken: fair <b>" in page.by_id("guardrails").text
    (table,) = page.all("table", "gates")
    assert table.text.index("tenant 3") < table.text.index("one tenant only")


def test_numbers_that_do_not_follow_from_the_windows_are_told(reviewing, store):
    policy = store.propose(SOURCE, name="x", origin=Origin.LLM, author="m", contract_version=1)
    store.record_verified(policy.digest, by="v")
    record = measurements(policy.digest)
    forged = tuple(
        replace(one, interval=replace(one.interval, mean=one.interval.mean + 0.1, high=1.0))
        for one in record.effects
    )
    store.attach_evidence(policy.digest, replace(record, effects=forged).document(), by="s")
    page = read(reviewing.as_("ada").get(f"/policies/{policy.digest}").text)
    assert "does not follow from the windows" in page.by_id("doubts").text


def test_how_true_the_step_times_were_is_told(reviewing, measured, store):
    browser = reviewing.as_("ada")
    assert "nobody had compared" in browser.get(f"/policies/{measured()}").text
    policy = store.propose(SOURCE, name="off", origin=Origin.LLM, author="m",
                           contract_version=1).digest  # fmt: skip
    store.record_verified(policy, by="v")
    standing = ProfileStanding(Grade.POOR, "So far off.", 700, 0.1, 0.2, 0.4, 0.5, 1.8e9)
    gate = Gate("profile", GateStatus.FAIL, standing.sentence())
    record = replace(measurements(policy), outcome=Outcome.INCONCLUSIVE, standing=standing)
    record = replace(record, gates=(*record.gates, gate))
    store.attach_evidence(policy, record.document(), by="s")
    page = browser.get(f"/policies/{policy}").text
    assert "poor for this cluster" in page
    assert "step times true to this cluster" in page
    assert "calls itself" not in page


def test_senseless_numbers_are_shown_as_such(reviewing, store):
    policy = store.propose(SOURCE, name="x", origin=Origin.LLM, author="m", contract_version=1)
    store.record_verified(policy.digest, by="v")
    record = measurements(policy.digest)
    wild = tuple(
        replace(one, interval=replace(one.interval, low=-1e308, mean=0.0, high=1e308))
        for one in record.effects
    )
    windows = tuple(
        replace(
            one, objective={role: 1e-300 * k for k, role in enumerate(one.objective)}, metrics={}
        )
        for one in record.windows
    )
    rival = replace(record.contenders[1], name=HOSTILE[0], digest='"><img src=x>\u202e' * 9)
    empty = replace(record, effects=wild, windows=windows, gates=(), contenders=(rival,))
    store.attach_evidence(policy.digest, empty.document(), by="s")
    page = read(reviewing.as_("ada").get(f"/policies/{policy.digest}").text)
    assert "Undecided" in page.by_id("verdict").text
    assert "No guardrail was tried." in page.by_id("guardrails").text
    assert not page.all("img")


def test_an_active_policy_that_was_not_measured_against_is_told(reviewing, measured, store):
    live, policy = measured(), measured()
    store.approve(live, by="bob", note="fine")
    store.activate(live, 0, by="bob", note="go")
    page = read(reviewing.as_("ada").get(f"/policies/{policy}").text)
    assert f"not measured against {live[:12]}, which is active" in page.by_id("doubts").text


@pytest.mark.parametrize("query", ["", "?view=split", "?comments=hide", "?against=default"])
def test_hostile_text_stays_in_its_element(reviewing, store, query):
    source = "".join(f"# {line}\nX = 0.5\n" for line in HOSTILE)[:65_000]
    claim = " ".join(HOSTILE)[:4_000]
    policy = store.propose(
        source, name=HOSTILE[0][:60], origin=Origin.LLM, author=HOSTILE[3][:50],
        contract_version=1, claim=claim,
    ).digest  # fmt: skip
    store.record_refused(policy, [HOSTILE[0]], by="verifier")
    browser = reviewing.as_("ada")
    for address in (f"/policies/{policy}{query}", f"/policies/{policy}/export{query}"):
        page = read(browser.get(address).text)
        assert not page.all("img")
        scripts = [one.attributes.get("src") for one in page.all("script")]
        assert all(src and src.startswith("/static/") for src in scripts)
        for one in page.elements:
            assert not {"style", "onclick", "onerror"} & set(one.attributes)
        text = page.by_id("claim").text
        assert "</code></td></table></pre><script>alert(1)</script>" in text
        assert "[U+202E]dne[U+202C]" in text
        assert "\u202e" not in page.elements[0].text
        (table,) = page.all("table", "source")
        assert "[U+200D]" in table.text
        assert "more characters]" in table.text
        assert max(map(len, table.text.split("\n"))) < 2_000
    assert browser.get(f"/policies/{policy}/source").text == source


def test_the_diff_is_to_what_somebody_chooses(reviewing, measured, store):
    browser = reviewing.as_("ada")
    policy = measured()
    changed = SOURCE.replace("queued_requests", "running_requests", 1)
    child = store.propose(changed, name="child", origin=Origin.LLM, author="m", contract_version=1,
                          parents=(policy,), parameters={"KNEE": 0.75}).digest  # fmt: skip
    page = read(browser.get(f"/policies/{child}?against=parent").text)
    (diff,) = page.all("table", "diff unified")
    assert "-        if inst.queued_requests < least:" in diff.text
    assert "+        if inst.running_requests < least:" in diff.text
    assert page.by_id("L8").attributes["href"] == "#L8"
    assert page.all("mark")[0].text == "queued_requests"
    assert "KNEE" in page.all("table", "narrow")[0].text
    assert "route" in page.by_id("really").text
    assert "the built-in default" in browser.get(f"/policies/{child}?against=active").text
    split = read(browser.get(f"/policies/{child}?against={policy[:12]}&view=split").text)
    assert split.all("table", "diff split")
    assert "No policy has a digest" in browser.get(f"/policies/{child}?against=abcdef").text
    both = browser.get("/diff", params={"old": policy, "new": child, "view": "split"})
    assert read(both.text).all("table", "diff split")


def test_comments_can_be_looked_past(reviewing, measured, store):
    policy = measured()
    noted = SOURCE.replace('"""Shortest queue."""', '"""The best ever."""').replace(
        "KNEE = 0.5", "# a remark\nKNEE = 0.5  # another"
    )
    twin = store.propose(noted, name="t", origin=Origin.LLM, author="m", contract_version=1).digest
    browser = reviewing.as_("ada")
    assert "1 line added" not in browser.get(f"/diff?old={policy}&new={twin}&comments=hide").text
    bare = read(browser.get(f"/diff?old={policy}&new={twin}&comments=hide").text)
    assert bare.by_id("diff-sum").text.startswith("0 lines added, 0 removed")
    full = read(browser.get(f"/diff?old={policy}&new={twin}").text)
    assert full.by_id("diff-sum").text.startswith("3 lines added, 2 removed")


def test_a_close_up_shows_distributions_and_losses(reviewing, measured, store):
    policy = measured()
    store.attach_evidence(policy, looked(policy).document(), by="s", kind=Kind.CLOSE_UP)
    browser = reviewing.as_("ada")
    page = read(browser.get(f"/policies/{policy}").text)
    names = [
        one.attributes["data-name"] for one in page.all("path") if "data-name" in one.attributes
    ]
    assert names[:2] == ["this policy", "active policy"]
    assert "9.5 s" in page.all("article", "loss")[0].text
    assert len(page.all("article", "loss")) == 6
    assert "all others" in page.elements[0].text
    other = browser.get(f"/policies/{policy}?window=typical").text
    assert "of window <b>w10</b>" in other
    export = read(browser.get(f"/policies/{policy}/export").text)
    assert export.by_id("worst-losses")
    assert export.by_id("typical-losses")
    store.attach_evidence(policy, {"schema": 99}, by="s", kind=Kind.CLOSE_UP)
    assert "is no close-up of this version" in browser.get(f"/policies/{policy}").text


def test_policies_without_evidence_have_a_page_in_words(reviewing, evaluated, proposed):
    browser = reviewing.as_("ada", Role.ADMIN)
    nothing = read(browser.get(f"/policies/{proposed()}").text)
    assert "Not measured" in nothing.by_id("verdict").text
    assert "Nothing was measured" in nothing.by_id("verdict-sentence").text
    older = read(browser.get(f"/policies/{evaluated()}").text)
    assert "which this version does not read" in older.by_id("verdict-sentence").text


def test_damaged_bytes_have_a_page_in_words_and_no_form(reviewing, measured, store_path):
    policy = measured()
    with sqlite3.connect(store_path) as around:
        around.execute("UPDATE evidence SET document = replace(document, '0.8', '0.9')")
    answer = reviewing.as_("ada").get(f"/policies/{policy}")
    page = read(answer.text)
    assert answer.status_code == 200
    assert "no longer matches its digest" in page.by_id("damage").text
    assert "attached evidence" in page.elements[0].text
    assert not [one for one in page.all("form") if "policies" in (one.attributes["action"] or "")]


def test_each_decision_says_what_happens_and_asks_why(reviewing, measured):
    browser = reviewing.as_("ada")
    policy = measured()
    page = read(browser.get(f"/policies/{policy}").text)
    assert "5 % of traffic" in page.by_id("decide-canary").text
    assert page.by_id("decide-canary-weight").attributes["value"] == "0.05"
    assert "required" in page.by_id("decide-approve-note").attributes
    assert reviewing.decide(policy, "canary", weight="0.1").status_code == 303
    track = read(browser.get(f"/policies/{policy}").text).all("li", "now")
    assert [one.text[:6] for one in track] == ["canary"]
    weak = measured(Outcome.NO_CHANGE)
    refused = read(browser.get(f"/policies/{weak}").text).by_id("decide-approve")
    assert "Only an admin may approve it" in refused.text
    browser = reviewing.as_("root", Role.ADMIN)
    assert "against it" in read(browser.get(f"/policies/{weak}").text).by_id("decide-approve").text


def test_an_export_needs_nothing_and_decides_nothing(reviewing, measured):
    answer = reviewing.as_("ada").get(f"/policies/{measured()}/export")
    page = read(answer.text)
    assert answer.headers["content-disposition"].startswith('attachment; filename="policy-')
    assert not page.all("script")
    assert not page.all("link")
    assert not page.all("form")
    assert page.all("style")
    assert all("default-src 'none'" in (one.attributes.get("content") or "")
               for one in page.all("meta") if "http-equiv" in one.attributes)  # fmt: skip


def test_the_source_is_plain_text(reviewing, measured):
    answer = reviewing.as_("ada").get(f"/policies/{measured()}/source")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.text == SOURCE
