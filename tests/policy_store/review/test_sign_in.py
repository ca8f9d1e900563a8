"""Coming in and going out: by password, by link and by token, and by no other way."""

from datetime import timedelta

import pytest
from visiting import OTHER, PASSWORD, fields_of, send, sign_in, visiting

from policy_store import passwords
from policy_store.records import Role, Scope
from policy_store.review.sign_in import local_path


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(passwords, "NOW", passwords.Work(n=1 << 10))


@pytest.fixture
def here(store):
    return visiting(store)


def test_from_the_first_link_to_signed_out(here):
    link = f"/welcome/{here.site.store.accounts.first_link(by='root')}"
    browser = here.browser()
    assert browser.get("/").headers["location"] == "/sign-in?next=/"
    answer = send(browser, link, link, name="ada", password=PASSWORD, again=PASSWORD)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "ada" in browser.get("/").text
    assert browser.get(link).status_code == 410
    out = send(browser, "/account", "/sign-out")
    assert out.status_code == 303
    assert browser.get("/").status_code == 303
    assert sign_in(browser, "ada").status_code == 303
    assert browser.get("/").status_code == 200


def test_a_wrong_password_says_no_more_than_an_unknown_name(here):
    here.add("ada")
    here.add("ben")
    here.add("root", Role.ADMIN)
    here.site.store.accounts.disable("ben", by="root")
    said = set()
    for name, password in (("ada", OTHER), ("eve", OTHER), ("ben", PASSWORD)):
        answer = sign_in(here.browser(), name, password)
        said.add((answer.status_code, answer.text.replace(f'value="{name}"', "").split("<h1>")[1]
                  .split('name="form"')[0]))  # fmt: skip
        assert "session" not in str(answer.headers.get_list("set-cookie"))
    assert len(said) == 1
    assert said.pop()[0] == 401


def test_a_form_that_another_site_made_signs_nobody_in(here):
    here.add("eve")
    victim, attacker = here.browser(), here.browser()
    stolen = fields_of(attacker, "/sign-in", "/sign-in")
    sent = {**stolen, "name": "eve", "password": PASSWORD}
    assert victim.post("/sign-in", data=sent).status_code == 403
    victim.get("/sign-in")
    assert victim.post("/sign-in", data=sent).status_code == 403
    own = fields_of(victim, "/sign-in", "/sign-in") | {"name": "eve", "password": PASSWORD}
    elsewhere = {"Origin": "https://evil.example"}
    assert victim.post("/sign-in", data=own, headers=elsewhere).status_code == 403
    assert victim.post("/sign-in", data=own).status_code == 303


def test_a_session_cookie_is_new_at_each_sign_in(here):
    here.add("ada")
    browser = here.browser()
    browser.cookies.set("evolver-session-8600", "planted-by-somebody", domain="127.0.0.1")
    sign_in(browser, "ada")
    first = browser.cookies["evolver-session-8600"]
    assert first != "planted-by-somebody"
    planted = here.browser()
    planted.cookies.set("evolver-session-8600", "planted-by-somebody", domain="127.0.0.1")
    assert planted.get("/").status_code == 303


def test_cookies_over_tls_belong_to_this_host_alone(store):
    here = visiting(store, base_url="https://review.example.org")
    here.add("ada")
    answer = sign_in(here.browser(), "ada")
    (cookie,) = [one for one in answer.headers.get_list("set-cookie") if "-session=" in one]
    assert cookie.startswith("__Host-evolver-session=")
    for word in ("Secure", "HttpOnly", "SameSite=lax", "Path=/"):
        assert word in cookie
    assert "Domain" not in cookie


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ("/policies/abc?x=1", "/policies/abc?x=1"), ("//evil.example", "/"), ("/\\evil", "/"),
        ("https://evil.example/", "/"), ("javascript:alert(1)", "/"), ("", "/"),
        ("/\tevil", "/"), ("/a\r\nSet-Cookie: x=y", "/"), ("///evil.example", "/"),
    ],
)  # fmt: skip
def test_sign_in_leads_to_this_page_only(wanted, got):
    assert local_path(wanted) == got


def test_sign_in_goes_on_to_where_one_wanted(here):
    here.add("ada")
    answer = sign_in(here.browser(), "ada", next="/audit")
    assert answer.headers["location"] == "/audit"
    answer = sign_in(here.browser(), "ada", next="https://evil.example")
    assert answer.headers["location"] == "/"


def test_many_wrong_passwords_are_put_off_with_the_time_to_wait(here):
    here.add("ada")
    answers = [sign_in(here.browser(), "ada", OTHER) for _ in range(11)]
    assert [one.status_code for one in answers] == [401] * 10 + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert sign_in(here.browser(), "ada").status_code == 429


def test_a_link_sets_a_password_once_however_often_it_is_looked_at(here):
    store = here.site.store
    old = here.signed_in("ada")
    link = f"/link/{store.accounts.link_for('ada', by='root')}"
    browser = here.browser()
    assert [browser.get(link).status_code for _ in range(3)] == [200] * 3
    differ = send(browser, link, link, password=OTHER, again=PASSWORD)
    assert (differ.status_code, "differ" in differ.text) == (422, True)
    assert send(browser, link, link, password=OTHER, again=OTHER).status_code == 303
    assert "ada" in browser.get("/").text
    assert old.get("/").status_code == 303
    assert browser.get(link).status_code == 410


def test_a_form_of_somebody_elses_session_is_refused(here):
    ada, ben = here.signed_in("ada"), here.signed_in("ben")
    theirs = fields_of(ben, "/account", "/sign-out")
    assert ada.post("/sign-out", data=theirs).status_code == 403
    assert ada.get("/").status_code == 200


def test_a_token_reads_but_posts_no_forms(here):
    here.add("ada", Role.ADMIN)
    accounts = here.site.store.accounts
    secret, token = accounts.make_token("ada", "t", [Scope.READ], timedelta(hours=1), by="ada")
    program = here.browser()
    bearer = {"Authorization": f"Bearer {secret}"}
    assert program.get("/", headers=bearer).status_code == 200
    assert program.get("/people", headers=bearer).status_code == 403
    assert program.post("/sign-out", headers=bearer).status_code == 403
    accounts.revoke_token(token.id, by="ada")
    assert program.get("/", headers=bearer).status_code == 303
    assert program.get("/", headers={"Authorization": "Bearer evt_x"}).status_code == 303
    assert program.get("/", headers={"Authorization": f"Basic {secret}"}).status_code == 303


def test_a_disabled_account_is_out_at_once(here):
    here.add("root", Role.ADMIN)
    ada = here.signed_in("ada")
    here.site.store.accounts.disable("ada", by="root")
    assert ada.get("/").status_code == 303


def test_a_role_counts_from_now_on(here):
    here.add("root", Role.ADMIN)
    ada = here.signed_in("ada", Role.ADMIN)
    assert ada.get("/people").status_code == 200
    here.site.store.accounts.set_role("ada", Role.VIEWER, by="root")
    assert ada.get("/people").status_code == 403
