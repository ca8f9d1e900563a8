"""The queue and the list of all policies."""

import time

from policy_store.records import Origin, Role
from sandbox.evidence import Outcome


def test_the_queue_says_what_each_policy_is_worth(reviewing, measured):
    browser = reviewing.as_("vic", Role.VIEWER)
    assert "Nothing waits for a decision." in browser.get("/").text
    first, second = measured(), measured(Outcome.NO_CHANGE)
    html = browser.get("/").text
    assert html.index(second) < html.index(first)
    assert html.count("</span>better<") == html.count("</span>undecided<") == 1
    assert "+8.3 %, from +6.4 % to +10.1 %" in html
    assert "<title>(2) Queue" in html


def test_other_states_are_behind_links(reviewing, measured):
    browser = reviewing.as_("ada")
    policy = measured()
    assert "No policy is in this state." in browser.get("/?state=rejected").text
    reviewing.decide(policy, "reject")
    assert policy in browser.get("/?state=rejected").text
    assert policy not in browser.get("/").text
    assert browser.get("/?state=asleep").status_code == 422


def test_what_came_since_somebody_left_is_marked(reviewing, measured):
    browser = reviewing.as_("ada")
    measured()
    assert "since you last looked" not in browser.get("/").text
    hours_ago = int(time.time()) - 7200
    browser.cookies.clear()
    browser.cookies.set("looked", f"0.{hours_ago}")
    assert "1 is new since you last looked" in browser.get("/").text
    browser.cookies.clear()
    browser.cookies.set("looked", "no number")
    assert browser.get("/").status_code == 200


def test_every_policy_is_in_the_list_whatever_its_name_holds(reviewing, store):
    browser = reviewing.as_("ada")
    assert "No policy has been proposed yet." in browser.get("/policies").text
    source = "def route(request, instances, memory):\n    return 0\n"
    for number in range(60):
        name = "<script>alert(1)</script>" if number == 59 else f"policy-{number}"
        store.propose(source, name=name, origin=Origin.LLM, author="model", contract_version=1,
                      parameters={"KNEE": float(number)})  # fmt: skip
    html = browser.get("/policies").text
    assert "&lt;script&gt;alert(1)" in html
    assert "<script>alert" not in html
    after = html.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    older = browser.get(after).text
    assert older.count("data-key-row") == 10
    assert "policy-7" in older


def test_policies_are_found_by_what_is_asked_for(reviewing, measured):
    browser = reviewing.as_("ada")
    one, other = measured(name="Least Loaded"), measured(origin=Origin.LLM)
    assert other not in browser.get("/policies?words=least&state=&origin=&run=").text
    assert one not in browser.get("/policies?origin=llm").text
    assert "No policy is like that." in browser.get("/policies?words=nothing").text
    assert browser.get("/policies?run=ffff").status_code == 404
    assert browser.get("/policies?words=%00").status_code == 422
