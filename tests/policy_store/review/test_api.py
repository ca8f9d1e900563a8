"""The API: what the pages show and decide, for programs."""

import pytest
from fastapi.testclient import TestClient

from policy_store.lifecycle import State
from policy_store.records import Alias, Role, Scope
from policy_store.review import create_app
from policy_store.review.access import Visitor
from policy_store.rule_text import EXAMPLE
from sandbox.evidence import Outcome

API = "/api/v1"
EVERY = frozenset(Scope)
ROUTE = '''"""Shortest queue."""
KNEE = 0.5  # tune: 0.1 .. 0.9


def route(request, instances, memory):
    best, least = -1, INF
    for inst in instances:
        if inst.queued_requests + KNEE < least:
            best, least = inst.id, inst.queued_requests
    return best
'''


@pytest.fixture
def program(reviewing):
    """Requests of a program with somebody's token."""

    def send(method, path, *, name="ada", role=Role.REVIEWER, scopes=EVERY, **more):
        reviewing.access.visitor_now = Visitor(name, role, scopes=scopes)
        return reviewing.browser.request(method, API + path, **more)

    return send


def decision(program, policy, verb, **more):
    seen = program("GET", f"/policies/{policy}/offers").json()["seen"]
    body = {"verb": verb, "note": "because", "seen": seen} | more
    return program("POST", f"/policies/{policy}/decisions", json=body)


def error_of(answer):
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "next"}
    return body["error"]


def test_the_queue_is_read_page_by_page(program, measured):
    made = {measured() for _ in range(5)}
    seen, address = [], "/policies?state=evaluated&limit=2"
    after = ""
    while True:
        page = program("GET", address + after).json()
        seen += [one["digest"] for one in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert (len(seen), set(seen)) == (5, made)


def test_a_policy_is_told_with_its_source_evidence_and_history(program, measured):
    policy, other = measured(), measured(Outcome.NO_CHANGE)
    told = program("GET", f"/policies/{policy[:8]}").json()
    assert (told["digest"], told["state"], told["outcome"]) == (policy, "evaluated", "improved")
    assert (told["objection"], told["claim"]) == ("", "")
    assert "no change" in program("GET", f"/policies/{other}").json()["objection"]
    assert "def route" in program("GET", f"/policies/{policy}/source").json()["text"]
    [document] = program("GET", f"/policies/{policy}/documents").json()
    whole = program("GET", f"/policies/{policy}/documents/{document['digest']}").json()
    assert whole["document"]["outcome"] == "improved"
    actions = [
        one["action"] for one in program("GET", f"/policies/{policy}/history").json()["items"]
    ]
    assert actions == ["proposed", "verified", "evidence_attached"]
    diff = program("GET", f"/policies/{other}/diff/{policy}").json()
    assert (diff["unified"], diff["parameters"]) == ("", {"KNEE": {"old": 1.0, "new": 2.0}})
    assert "Nothing that decides changed" in diff["change"]  # no hook reads KNEE
    live = program("GET", f"/policies/{policy}/diff").json()
    assert (live["old"], live["unified"][:3]) == (None, "---")


def test_a_program_approves_promotes_and_takes_back(program, measured, reviewing):
    policy, store = measured(), reviewing.site.store
    done = decision(program, policy, "canary", weight=0.2)
    assert (done.status_code, done.json()["policy"]["state"]) == (200, "canary")
    assert store.slot(Alias.CANARY).weight == 0.2
    # What a decision answers is good for the next one.
    body = {"verb": "promote", "note": "calm", "seen": done.json()["seen"]}
    assert program("POST", f"/policies/{policy}/decisions", json=body).status_code == 200
    live = program("GET", "/live").json()
    assert live["rollback"]["why_not"] == ""
    term = program("POST", "/live/renew", json={"note": "as before", "seen": live["seen"]})
    live = term.json()["live"]
    back = program("POST", "/live/roll-back", json={"note": "hot", "seen": live["seen"]})
    assert back.json()["live"]["rollback"] is None
    assert store.show(policy).version.state is State.ROLLED_BACK
    assert reviewing.published.times == 4
    said = program("GET", "/audit?actor=ada").json()["items"]
    done = [one["action"] for one in said]
    assert done == ["approved", "placed", "activated", "renewed", "rolled_back"]
    assert program("GET", "/audit/verification").json()["intact"] is True
    assert len(program("GET", "/live/activations").json()["items"]) == 3
    assert program("POST", f"/policies/{policy}/remarks", json={"note": "x"}).status_code == 204
    assert program("GET", "/audit?action=remarked").json()["items"][0]["note"] == "x"


def test_what_a_decision_was_made_on_can_be_spelt_out(program, measured):
    policy = measured()
    now = program("GET", f"/policies/{policy}/offers").json()["situation"]
    seen = {name: now[name] for name in ("state", "evidence", "sequences")}
    late = {**seen, "sequences": {"active": 7}}
    refused = decision(program, policy, "approve", seen=late)
    assert (refused.status_code, error_of(refused)["code"]) == (409, "stale")
    assert decision(program, policy, "approve", seen=seen).status_code == 200


def test_a_decision_counts_once_and_a_stale_one_says_what_changed(program, measured):
    policy, other = measured(), measured()
    seen = program("GET", f"/policies/{policy}/offers").json()["seen"]
    assert decision(program, other, "canary").status_code == 200
    late = decision(program, policy, "canary", seen=seen)
    assert (late.status_code, error_of(late)["code"]) == (409, "stale")
    assert f"is {other[:12]} now" in error_of(late)["message"]
    seen = program("GET", f"/policies/{policy}/offers").json()["seen"]
    first, second = (decision(program, policy, "reject", seen=seen) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 409)


def test_who_may_not_decide_hears_so(program, measured):
    policy = measured(Outcome.NO_CHANGE)
    path, body = f"/policies/{policy}/decisions", {"verb": "approve", "note": "x", "seen": "x"}
    few = program("POST", path, json=body, scopes=frozenset({Scope.READ}))
    assert (few.status_code, error_of(few)["code"]) == (403, "not_allowed")
    assert "decide" in error_of(few)["message"]
    assert decision(program, policy, "approve").status_code == 403
    seen = program("GET", f"/policies/{policy}/offers").json()["seen"]
    body |= {"seen": seen, "override": True}
    assert program("POST", path, json=body, role=Role.ADMIN).status_code == 200


def test_a_session_needs_its_token_for_what_changes_something(reviewing, measured):
    policy = measured()
    browser = reviewing.as_("ada")
    seen = browser.get(f"{API}/policies/{policy}/offers").json()["seen"]
    body = {"verb": "approve", "note": "because", "seen": seen}
    path = f"{API}/policies/{policy}/decisions"
    assert browser.post(path, json=body).status_code == 403
    ours = {"X-CSRF-Token": "csrf-of-ada"}
    foreign = ours | {"Origin": "http://evil.example"}
    answer = browser.post(path, json=body, headers=foreign)
    assert (answer.status_code, error_of(answer)["code"]) == (403, "not_allowed")
    assert browser.post(path, json=body, headers=ours).status_code == 200


def test_a_policy_submitted_by_hand_is_verified_and_waits_for_somebody_else(program):
    body = {"source": ROUTE, "parameters": {"KNEE": 0.75}, "name": "by-hand"}
    made = program("POST", "/policies", json=body)
    assert (made.status_code, made.json()["state"]) == (201, "verified")
    assert (made.json()["origin"], made.json()["author"]) == ("person", "ada")
    assert made.json()["parameters"] == {"KNEE": 0.75}
    source = program("GET", f"/policies/{made.json()['digest']}/source").json()
    assert "KNEE = 0.75" in source["text"]
    assert program("POST", "/policies", json=body, name="ben").status_code == 200
    offers = program("GET", f"/policies/{made.json()['digest']}/offers").json()["offers"]
    assert "somebody else" in offers[0]["why_not"]


@pytest.mark.parametrize(
    ("source", "parameters", "said"),
    [
        ("import os\n", {}, "line 1"),
        (ROUTE, {"KNEE": 7.0}, "0.1 .. 0.9"),
        (ROUTE, {"NOSE": 0.5}, "NOSE"),
        ("x = [" * 400, {}, "line 1"),
        ("def route(request, instances, memory):\n    return 0\n" * 150, {}, "line"),
    ],
)
def test_what_the_verifier_refuses_is_not_kept(program, source, parameters, said):
    refused = program("POST", "/policies", json={"source": source, "parameters": parameters})
    assert (refused.status_code, error_of(refused)["code"]) == (422, "policy_refused")
    assert said in error_of(refused)["message"]
    assert program("GET", "/policies").json()["items"] == []


def test_runs_are_told_with_their_events(program, reviewing):
    runs = reviewing.site.store.runs
    run = runs.start_run("evolve", {"seed": 1}).id
    runs.append_events(run, [("candidate", {"n": n}) for n in range(5)])
    assert [one["id"] for one in program("GET", "/runs").json()["items"]] == [run]
    first = program("GET", f"/runs/{run}/events?limit=3").json()
    rest = program("GET", f"/runs/{run}/events?limit=3&after={first['next']}").json()
    assert [one["payload"]["n"] for one in first["items"] + rest["items"]] == [0, 1, 2, 3, 4]
    assert rest["next"] is None
    assert program("GET", f"/runs/{'0' * 32}").status_code == 404


def test_what_a_program_knows_is_not_sent_again(program, measured):
    path = f"/policies/{measured()}"
    tag = program("GET", path).headers["etag"]
    again = program("GET", path, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    decision(program, path.rpartition("/")[2], "approve")
    assert program("GET", path, headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/nothing", 404, "not_found"),
        ("DELETE", "/policies", 405, "method_not_allowed"),
        ("GET", "/policies/abcdef", 404, "not_found"),
        ("GET", "/policies/ABCDEF", 422, "invalid"),
        ("GET", "/policies?limit=1000", 422, "invalid"),
        ("POST", "/policies", 422, "invalid"),
    ],
)
def test_every_error_has_one_shape(program, method, path, status, code):
    answer = program(method, path)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_strangers_hear_that_they_have_to_sign_in(reviewing):
    answer = reviewing.browser.get(f"{API}/policies")
    assert (answer.status_code, error_of(answer)["code"]) == (401, "sign_in_needed")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_what_is_wrong_is_named_and_never_repeated(program):
    body = {"source": ["hunter2"], "hunter3": 1}
    answer = program("POST", "/policies", json=body)
    assert answer.status_code == 422
    assert "source" in error_of(answer)["message"]
    assert "hunter" not in answer.text


def test_a_person_makes_and_ends_tokens_and_a_token_does_not(reviewing, program):
    accounts = reviewing.site.store.accounts
    accounts.add("ada", Role.REVIEWER, by="root")
    browser = reviewing.as_("ada")
    me = browser.get(f"{API}/me").json()
    assert (me["name"], me["scopes"], me["csrf"]) == ("ada", None, "csrf-of-ada")
    ours, body = {"X-CSRF-Token": me["csrf"]}, {"name": "ci", "scopes": ["read", "decide"]}
    made = browser.post(f"{API}/tokens", json=body, headers=ours)
    assert made.status_code == 201
    assert accounts.token_of(made.json()["secret"])
    assert program("POST", "/tokens", json=body).status_code == 403
    [listed] = program("GET", "/tokens").json()["items"]
    assert "secret" not in listed
    too_much = {"name": "ci", "scopes": ["administer"]}
    reviewing.as_("ada")
    assert browser.post(f"{API}/tokens", json=too_much, headers=ours).status_code == 422
    assert browser.delete(f"{API}/tokens/{listed['id']}", headers=ours).status_code == 200
    assert accounts.token_of(made.json()["secret"]) is None
    assert browser.delete(f"{API}/tokens/{'0' * 64}", headers=ours).status_code == 404


def test_an_admin_lets_people_in_and_keeps_them_out(reviewing, program):
    accounts, boss = reviewing.site.store.accounts, {"name": "root", "role": Role.ADMIN}
    accounts.add("root", Role.ADMIN, by="root")
    made = program("POST", "/people", json={"name": "ben", "role": "viewer"}, **boss).json()
    assert (made["account"]["role"], made["account"]["invited"]) == ("viewer", True)
    assert accounts.link(made["link"].rpartition("/")[2]).name == "ben"
    body = {"role": "reviewer", "disabled": True}
    changed = program("PATCH", "/people/ben", json=body, **boss).json()
    assert (changed["role"], changed["disabled"]) == ("reviewer", True)
    assert program("POST", "/people/ben/link", **boss).status_code == 403
    last = program("PATCH", "/people/root", json={"role": "viewer"}, **boss)
    assert (last.status_code, error_of(last)["code"]) == (409, "conflict")
    assert program("PATCH", "/people/nobody", json={}, **boss).status_code == 404
    assert program("GET", "/people").status_code == 403


def test_an_admin_installs_and_removes_a_rule(program, measured):
    boss, body = {"name": "root", "role": Role.ADMIN}, {"text": EXAMPLE, "note": "small steps"}
    assert program("POST", "/rules", json=body).status_code == 403
    assert program("POST", "/rules", json=body | {"text": "x"}, **boss).status_code == 422
    made = program("POST", "/rules", json=body, **boss)
    assert (made.status_code, made.json()["installed_by"]) == (201, "root")
    assert program("POST", "/rules", json=body, **boss).status_code == 409
    [judgement] = program("GET", f"/policies/{measured()}/judgements").json()["items"]
    held = all(one["holds"] for one in judgement["conditions"])
    assert (judgement["rule"], judgement["fires"]) == (made.json()["name"], held)
    path = f"/rules/{made.json()['name']}/remove"
    assert program("POST", path, json={"note": "no more"}, **boss).status_code == 200
    told = program("GET", "/rules").json()
    assert (told["installed"], told["removed"][0]["removed_by"]) == ([], "root")


def test_what_fails_inside_is_said_in_the_same_shape_and_without_details(reviewing):
    def fails():
        raise RuntimeError("secret of the inside")

    app = create_app(reviewing.site)
    app.add_api_route("/api/v1/broken", fails)
    with TestClient(
        app, base_url="http://127.0.0.1:8600", raise_server_exceptions=False
    ) as browser:
        answer = browser.get("/api/v1/broken")
    assert (answer.status_code, error_of(answer)["code"]) == (500, "failed")
    assert "secret" not in answer.text
