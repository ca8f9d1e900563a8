"""The page of people and one's own account: what an admin and what everybody may change there."""

import html
import re

import pytest
from visiting import OTHER, PASSWORD, send, sign_in, visiting

from policy_store import passwords
from policy_store.records import Role, Scope


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(passwords, "NOW", passwords.Work(n=1 << 10))


@pytest.fixture
def here(store):
    return visiting(store)


@pytest.fixture
def admin(here):
    return here.signed_in("root", Role.ADMIN)


def secret_of(answer):
    return html.unescape(re.search(r'id="secret">([^<]+)<', answer.text)[1])


def test_an_admin_lets_somebody_in_by_a_link(here, admin):
    answer = send(admin, "/people", "/people", name="ada", role="reviewer", link="true")
    assert answer.status_code == 200
    link = secret_of(answer).removeprefix(here.site.settings.base_url)
    assert link not in admin.get("/people").text
    browser = here.browser()
    assert send(browser, link, link, password=OTHER, again=OTHER).status_code == 303
    assert here.site.store.accounts.get("ada").role is Role.REVIEWER
    assert sign_in(here.browser(), "ada", OTHER).status_code == 303


def test_an_admin_changes_roles_and_keeps_people_out(here, admin):
    ada = here.signed_in("ada")
    send(admin, "/people", "/people/role", name="ada", role="viewer")
    assert here.site.store.accounts.get("ada").role is Role.VIEWER
    send(admin, "/people", "/people/disable", name="ada")
    assert ada.get("/").status_code == 303
    send(admin, "/people", "/people/enable", name="ada")
    assert sign_in(here.browser(), "ada").status_code == 303
    reset = secret_of(send(admin, "/people", "/people/link", name="ada"))
    assert "/link/" in reset


def test_the_last_admin_is_told_why_not(here, admin):
    for action, fields in (("disable", {}), ("role", {"role": "viewer"})):
        answer = send(admin, "/people", f"/people/{action}", name="root", **fields)
        assert (answer.status_code, "last admin" in answer.text) == (409, True)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.REVIEWER])
def test_nobody_else_may(here, admin, role):
    ada = here.signed_in("ada", role)
    assert ada.get("/people").status_code == 403
    token = re.search(r'name="csrf" value="([^"]+)"', ada.get("/account").text)[1]
    for action, fields in (
        ("", {"name": "eve"}), ("/role", {"name": "ada", "role": "admin"}),
        ("/disable", {"name": "root"}), ("/enable", {"name": "root"}), ("/link", {"name": "root"}),
    ):  # fmt: skip
        answer = ada.post(f"/people{action}", data=fields | {"csrf": token})
        assert answer.status_code == 403
    assert here.site.store.accounts.get("ada").role is role


def test_one_changes_ones_own_password_and_other_sessions_end(here):
    ada = here.signed_in("ada")
    other = here.browser()
    sign_in(other, "ada")
    fields = {"password": OTHER, "again": OTHER}
    page, action = "/account", "/account/password"
    assert send(ada, page, action, present="wrong", **fields).status_code == 403
    assert send(ada, page, action, present=PASSWORD, **fields).status_code == 303
    assert ada.get("/").status_code == 200
    assert other.get("/").status_code == 303
    assert sign_in(here.browser(), "ada").status_code == 401


def test_one_ends_ones_other_sessions(here):
    ada = here.signed_in("ada")
    other, third = here.browser(), here.browser()
    sign_in(other, "ada")
    send(ada, "/account", "/account/sessions/end")
    assert other.get("/").status_code == 303
    sign_in(third, "ada")
    send(ada, "/account", "/account/sessions/end-all")
    assert third.get("/").status_code == 303
    assert ada.get("/").status_code == 200


def test_a_token_is_shown_once_and_ends_when_revoked(here):
    ada = here.signed_in("ada")
    answer = send(ada, "/account", "/account/tokens", name="report", scope="read", days="7")
    secret = secret_of(answer)
    assert secret not in ada.get("/account").text
    bearer = {"Authorization": f"Bearer {secret}"}
    assert here.browser().get("/", headers=bearer).status_code == 200
    send(ada, "/account", "/account/tokens/revoke")
    assert here.browser().get("/", headers=bearer).status_code == 303
    beyond = send(ada, "/account", "/account/tokens", name="x", scope=Scope.ADMINISTER)
    assert beyond.status_code == 422
