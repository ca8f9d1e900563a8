"""The explorer's page: whatever the address says, a fleet within bounds and what each picks."""

import re

import pytest
from measurements import SOURCE

from policy_store.records import Alias, Role
from policy_store.review.pages_explore import USUAL, set_of
from sandbox.what_if import ASKED, SIGNALS, Signal

NO_ROUTE = (
    '"""Oldest first."""\n\n\ndef priority(request, instance, memory):\n    return request.age_s\n'
)
HOLDS = '"""Holds."""\n\n\ndef route(request, instances, memory):\n    return HOLD\n'


@pytest.fixture
def stored(store, measured):
    """Stores a policy of a text; its constants are as written."""

    def make(text):
        digest = store.propose(text, name="told", origin="mutator", author="mutator",
                               contract_version=1, parameters={}).digest  # fmt: skip
        store.record_verified(digest, by="verifier")
        return digest

    return make


def decisions(html):
    """What each policy picks, by its name."""
    rows = re.findall(r'<tr class="pick">.*?<span[^>]*>(.*?)</span>.*?<td[^>]*>(.*?)</td>', html)
    return dict(rows)


def test_the_page_shows_whom_each_policy_picks_and_how_that_changes(reviewing, stored):
    policy = stored(SOURCE.replace("KNEE = 0.5\n", ""))
    browser = reviewing.as_("vic", Role.VIEWER)
    html = browser.get(f"/policies/{policy}/explore").text
    told = decisions(html)
    assert told["This policy"] == "instance 1"
    assert told["The built-in default, which is active"].startswith("instance")
    assert html.count('class="strip-of"') == 2
    assert re.search(r'id="instance-1"><th scope="row">1 <span class="badge candidate">', html)
    assert f'name="queued_requests-{len(USUAL) - 1}"' in html
    busy = browser.get(f"/policies/{policy}/explore?queued_requests-1=99").text
    assert decisions(busy)["This policy"] == "instance 0"


def test_the_active_policy_stands_beside(reviewing, stored, measured):
    policy, other = stored(HOLDS), measured(parameters={})
    reviewing.as_("ada")
    reviewing.decide(other, "canary")
    reviewing.decide(other, "promote")
    assert reviewing.site.store.slot(Alias.ACTIVE).digest == other
    told = decisions(reviewing.browser.get(f"/policies/{policy}/explore").text)
    assert told["This policy"] == "holds the request back"
    assert told["The active policy"] == "instance 1"
    assert len(told) == 3
    told = decisions(reviewing.browser.get(f"/policies/{other}/explore").text)
    assert list(told) == ["This policy, which is active", "The built-in default"]


def test_a_policy_without_route_and_one_that_is_none_say_so(reviewing, stored):
    browser = reviewing.as_("ada")
    html = browser.get(f"/policies/{stored(NO_ROUTE)}/explore").text
    assert decisions(html)["This policy"].startswith("It has no route")
    html = browser.get(f"/policies/{stored('import os')}/explore").text
    assert "does not admit it" in decisions(html)["This policy"]
    assert decisions(html)["The built-in default, which is active"].startswith("instance")


def test_strangers_are_led_away_and_nothing_is_run(reviewing, stored):
    address = f"/policies/{stored(HOLDS)}/explore"
    assert reviewing.browser.get(address, follow_redirects=False).status_code == 303
    assert not hasattr(reviewing.browser.app.state, "what_if")


def test_an_empty_address_is_the_usual_fleet():
    chosen = set_of({})
    assert chosen.case.instances == USUAL
    assert chosen.corrected == ()


@pytest.mark.parametrize("query", [
    {"n": "1000000"}, {"n": "-3"}, {"n": "nan"}, {"n": "<script>"}, {"on": "7"}, {"on": "-1"},
    {"queued_requests-0": "1e400"}, {"kv_use-1": "7"}, {"prompt_tokens": "0"}, {"age_s": "x" * 999},
    {"class_id": "1.7"}, {"decode_tokens_per_s-2": "-0.0"},
])  # fmt: skip
def test_what_is_out_of_bounds_is_mended_and_said(query):
    chosen = set_of(query)
    (sentence,) = chosen.corrected
    assert "<" not in sentence
    assert 2 <= len(chosen.case.instances) <= 8
    assert 0 <= chosen.sweep.instance < len(chosen.case.instances)
    for name, bound in ASKED.items():
        assert bound.holds(getattr(chosen.case, name))
    for one in chosen.case.instances:
        assert all(bound.holds(getattr(one, signal.value)) for signal, bound in SIGNALS.items())


def test_words_that_nobody_knows_are_left_alone():
    chosen = set_of({"sweep": "secrets", "kv_use-99": "1", "nothing": "1"})
    assert (chosen.sweep.signal, chosen.corrected) == (Signal.QUEUED, ())


def test_corrections_are_shown_and_escaped(reviewing, stored):
    browser = reviewing.as_("ada")
    address = f"/policies/{stored(HOLDS)}/explore"
    html = browser.get(address, params={"kv_use-0": "<b>9</b>", "n": "99"}).text
    assert "KV cache in use of instance 0 was no number" in html
    assert "The number of instances is 8 now" in html
    assert "<b>9</b>" not in html
