"""Accounts, sessions, links and tokens: what each is good for, and when it no longer is."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from policy_store import PolicyStore, passwords
from policy_store.errors import (
    InvalidInput,
    LastAdmin,
    LinkSpent,
    SignInRefused,
    StoreError,
    UnknownAccount,
)
from policy_store.records import Role, Scope

PASSWORD, OTHER = "four words are enough", "other words are enough"
HOUR = timedelta(hours=1)


class Clock:
    def __init__(self):
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.now


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    """Hashes of these tests cost little; that real ones do not is a test of its own."""
    monkeypatch.setattr(passwords, "NOW", passwords.Work(n=1 << 10))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def accounts(store_url, clock):
    with PolicyStore.open(store_url, clock) as opened:
        yield opened.accounts


@pytest.fixture
def told(store_url):
    """The audit log's entries as (actor, action, subject)."""

    def read():
        with PolicyStore.open(store_url) as opened:
            return [(one.actor, one.action, one.subject) for one in opened.audit.entries()]

    return read


def enter(accounts, name="ada", role=Role.ADMIN):
    accounts.add(name, role, by="root")
    return accounts.use_link(accounts.link_for(name, by="root"), PASSWORD)


def test_hashes_cost_what_the_field_asks_for():
    work = passwords.Work()
    assert work.n >= 1 << 15
    assert 128 * work.n * work.r >= 32 << 20


def test_a_password_opens_one_account_only(accounts):
    enter(accounts)
    assert accounts.sign_in("ada", PASSWORD).role is Role.ADMIN
    for name, password in (("ada", OTHER), ("ben", PASSWORD), ("Ada", PASSWORD), ("ada", "")):
        with pytest.raises(SignInRefused) as refused:
            accounts.sign_in(name, password)
        assert str(refused.value) == "Name and password do not belong together: try again."


def test_unknown_names_cost_the_same_work(accounts, monkeypatch):
    enter(accounts)
    works = []
    real = passwords.hashlib.scrypt
    monkeypatch.setattr(
        passwords.hashlib, "scrypt", lambda *a, **k: works.append(k["n"]) or real(*a, **k)
    )
    for name in ("ada", "nobody-here"):
        with pytest.raises(SignInRefused):
            accounts.sign_in(name, OTHER)
    assert works == [1 << 10, 1 << 10]


def test_what_no_name_can_be_is_nobodys(accounts):
    enter(accounts)
    for name in ("a\0b", "\ud800", "x" * 10_000, "", "a\nb"):
        with pytest.raises(SignInRefused):
            accounts.sign_in(name, PASSWORD)
        with pytest.raises(UnknownAccount):
            accounts.get(name)
        accounts.end_session("ada", name)
        assert accounts.session_of(name, HOUR) is None
        assert accounts.token_of("evt_" + name) is None
        with pytest.raises(LinkSpent):
            accounts.link(name)
        with pytest.raises(InvalidInput):
            accounts.revoke_token(name, by="ada")


def test_a_cheap_hash_is_made_again_at_sign_in(accounts, store_path, monkeypatch):
    enter(accounts)
    monkeypatch.setattr(passwords, "NOW", passwords.Work(n=1 << 11))
    accounts.sign_in("ada", PASSWORD)
    with sqlite3.connect(store_path) as rows:
        (kept,) = rows.execute("SELECT password FROM accounts").fetchone()
    rows.close()
    assert kept.startswith("scrypt$2048$8$1$")
    assert accounts.sign_in("ada", PASSWORD).name == "ada"


def test_a_guessable_password_is_refused_and_the_link_stays_good(accounts):
    accounts.add("ada", Role.VIEWER, by="root")
    link = accounts.link_for("ada", by="root")
    for password in ("short", "aaaaaaaaaaaaaaa", "x" * 1025):
        with pytest.raises(InvalidInput):
            accounts.use_link(link, password)
    assert accounts.use_link(link, PASSWORD).name == "ada"


def test_names_that_look_like_others_are_refused(accounts):
    accounts.add("ada", Role.VIEWER, by="root")
    for name in (
        "Ada", "ADA", "\uff41da", "a\u0064\u0430", "ada\u200b", "ad\u0131 x|y", " ", "evolver",
        "verifier", "x" * 65, "a" * 64, "a\nb", "rule:mine", "ada  b", "-ada", "<b>", "a/b",
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            accounts.add(name, Role.VIEWER, by="root")
    assert len(accounts.everybody()) == 1


def test_plain_names_of_any_one_alphabet_are_good(accounts):
    names = ("ben", "ada.l@example.org", "O'Neil-x y", "\u00c5sa", "\u042e\u0440\u0438\u0439",
             "\u674e\u96f7")  # fmt: skip
    for name in names:
        assert accounts.add(name, Role.VIEWER, by="root").name == name
    assert {one.name for one in accounts.everybody()} == set(names)


def test_the_first_link_makes_one_admin_and_is_replaced_by_the_next(accounts):
    old, link = accounts.first_link(by="root"), accounts.first_link(by="root")
    with pytest.raises(LinkSpent):
        accounts.use_first_link(old, "ada", PASSWORD)
    assert accounts.link(link) is None
    assert accounts.use_first_link(link, "ada", PASSWORD).role is Role.ADMIN
    with pytest.raises(LinkSpent):
        accounts.use_first_link(link, "eve", PASSWORD)
    assert accounts.first_link(by="root") is None
    assert [one.name for one in accounts.everybody()] == ["ada"]


def test_a_first_link_is_no_good_once_somebody_has_an_account(accounts):
    link = accounts.first_link(by="root")
    assert accounts.link(link) is None
    accounts.add("ada", Role.ADMIN, by="root")
    for use in (
        lambda: accounts.link(link),
        lambda: accounts.use_first_link(link, "eve", PASSWORD),
    ):
        with pytest.raises(LinkSpent):
            use()


def outcomes(*calls):
    """What came of calls made at once: None, or the error."""

    def come_of(call):
        try:
            call()
        except StoreError as error:
            return type(error)
        return None

    with ThreadPoolExecutor(len(calls)) as threads:
        return sorted(map(str, threads.map(come_of, calls)))


def test_of_many_at_once_one_becomes_the_first_admin(accounts):
    link = accounts.first_link(by="root")
    names = ("ada", "ben", "eve", "joe")
    came = outcomes(*(lambda n=n: accounts.use_first_link(link, n, PASSWORD) for n in names))
    assert came == sorted([*[str(LinkSpent)] * 3, "None"])
    assert len(accounts.everybody()) == 1


def test_two_admins_who_disable_each_other_leave_one(accounts):
    for name in ("ada", "ben"):
        accounts.add(name, Role.ADMIN, by="root")
    came = outcomes(*(lambda n=n: accounts.disable(n, by="root") for n in ("ada", "ben")))
    assert came == sorted([str(LastAdmin), "None"])
    assert [one.disabled for one in accounts.everybody()].count(False) == 1


def test_a_link_works_once_for_a_day_and_looking_does_not_use_it_up(accounts, clock):
    accounts.add("ada", Role.VIEWER, by="root")
    link = accounts.link_for("ada", by="root")
    assert accounts.everybody()[0].invited
    assert accounts.link(link).name == accounts.link(link).name == "ada"
    accounts.use_link(link, PASSWORD)
    with pytest.raises(LinkSpent):
        accounts.use_link(link, OTHER)
    late = accounts.link_for("ada", by="root")
    clock.now += 24 * HOUR
    with pytest.raises(LinkSpent):
        accounts.use_link(late, OTHER)
    assert accounts.sign_in("ada", PASSWORD)


def test_a_session_ends_after_its_time_or_when_nobody_uses_it(accounts, clock):
    enter(accounts)
    secret, _ = accounts.start_session("ada", 12 * HOUR, way="password")
    for _ in range(11):
        clock.now += HOUR
        assert accounts.session_of(secret, 2 * HOUR)[1].name == "ada"
    clock.now += HOUR
    assert accounts.session_of(secret, 2 * HOUR) is None
    idle, _ = accounts.start_session("ada", 12 * HOUR, way="password")
    clock.now += 2 * HOUR
    assert accounts.session_of(idle, 2 * HOUR) is None


def test_a_page_that_keeps_itself_fresh_does_not_keep_its_session(accounts, clock):
    enter(accounts)
    secret, _ = accounts.start_session("ada", 12 * HOUR, way="password")
    clock.now += HOUR
    assert accounts.session_of(secret, 2 * HOUR, used=False)
    clock.now += HOUR
    assert accounts.session_of(secret, 2 * HOUR) is None


@pytest.mark.parametrize(
    "end",
    [
        lambda a, s: a.end_session("ada", s.id),
        lambda a, s: a.end_sessions("ada", by="ada"),
        lambda a, s: a.change_password("ada", PASSWORD, OTHER),
        lambda a, s: a.use_link(a.link_for("ada", by="root"), OTHER),
        lambda a, s: a.disable("ada", by="root"),
    ],
    ids=["signed out", "all ended", "password changed", "password reset", "disabled"],
)
def test_a_session_ends(accounts, end):
    enter(accounts, "root", Role.ADMIN)
    enter(accounts)
    secret, session = accounts.start_session("ada", HOUR, way="password")
    end(accounts, session)
    assert accounts.session_of(secret, HOUR) is None


def test_the_session_that_changed_the_password_stays(accounts):
    enter(accounts)
    secret, session = accounts.start_session("ada", HOUR, way="password")
    other, _ = accounts.start_session("ada", HOUR, way="password")
    accounts.change_password("ada", PASSWORD, OTHER, keep=session.id)
    assert accounts.session_of(secret, HOUR) is not None
    assert accounts.session_of(other, HOUR) is None


def test_nobody_ends_the_session_of_somebody_else(accounts):
    enter(accounts)
    secret, session = accounts.start_session("ada", HOUR, way="password")
    accounts.end_session("eve", session.id)
    assert accounts.session_of(secret, HOUR) is not None


def test_who_is_disabled_comes_in_by_no_way_until_enabled(accounts):
    enter(accounts, "root")
    enter(accounts)
    token, _ = accounts.make_token("ada", "t", [Scope.READ], HOUR, by="ada")
    link = accounts.link_for("ada", by="root")
    accounts.disable("ada", by="root")
    assert accounts.token_of(token) is None
    for way in (
        lambda: accounts.sign_in("ada", PASSWORD),
        lambda: accounts.use_link(link, OTHER),
        lambda: accounts.link_for("ada", by="root"),
        lambda: accounts.start_session("ada", HOUR, way="password"),
        lambda: accounts.make_token("ada", "t", [Scope.READ], HOUR, by="ada"),
    ):
        with pytest.raises((SignInRefused, LinkSpent)):
            way()
    accounts.enable("ada", by="root")
    assert accounts.sign_in("ada", PASSWORD)
    assert accounts.token_of(token) is None
    assert all(one.revoked_at for one in accounts.tokens_of("ada"))


def test_the_last_admin_stays_one(accounts):
    enter(accounts)
    enter(accounts, "ben", Role.REVIEWER)
    with pytest.raises(LastAdmin):
        accounts.disable("ada", by="ada")
    with pytest.raises(LastAdmin):
        accounts.set_role("ada", Role.VIEWER, by="ada")
    accounts.set_role("ben", Role.ADMIN, by="ada")
    accounts.disable("ada", by="ben")
    with pytest.raises(LastAdmin):
        accounts.disable("ben", by="ben")
    with pytest.raises(UnknownAccount):
        accounts.disable("nobody-here", by="ben")


def test_tokens_reach_no_further_than_their_owner(accounts, clock):
    enter(accounts, "root")
    enter(accounts, "ada", Role.REVIEWER)
    with pytest.raises(InvalidInput):
        accounts.make_token("ada", "t", [Scope.ADMINISTER], HOUR, by="ada")
    with pytest.raises(InvalidInput):
        accounts.make_token("ada", "t", [], HOUR, by="ada")
    with pytest.raises(InvalidInput):
        accounts.make_token("ada", "t", [Scope.READ], timedelta(days=400), by="ada")
    secret, token = accounts.make_token("ada", "t", [Scope.DECIDE], HOUR, by="ada")
    assert secret.startswith("evt_")
    found, owner = accounts.token_of(secret)
    assert (found.scopes, owner.name) == (frozenset({Scope.DECIDE}), "ada")
    assert accounts.tokens_of("ada")[0].used_at == clock.now
    with pytest.raises(InvalidInput):
        accounts.revoke_token(token.id, by="eve", account="eve")
    assert accounts.token_of(secret)
    accounts.revoke_token(token.id, by="ada", account="ada")
    assert accounts.token_of(secret) is None
    late, _ = accounts.make_token("ada", "t", [Scope.READ], HOUR, by="ada")
    clock.now += HOUR
    assert accounts.token_of(late) is None


def test_an_identity_belongs_to_one_account_that_has_no_password(accounts):
    enter(accounts, "root")
    accounts.add("ada", Role.VIEWER, by="root")
    with pytest.raises(SignInRefused):
        accounts.tie("root", "https://issuer|1", by="root")
    accounts.tie("ada", "https://issuer|1", by="ada")
    assert accounts.of_identity("https://issuer|1").name == "ada"
    assert accounts.of_identity("https://other|1") is None
    for again in (lambda: accounts.tie("ada", "https://issuer|2", by="ada"),
                  lambda: accounts.link_for("ada", by="root")):  # fmt: skip
        with pytest.raises(SignInRefused):
            again()


def test_the_audit_tells_every_change_and_no_secret(accounts, told, store_path):
    first = accounts.first_link(by="root")
    accounts.use_first_link(first, "ada", PASSWORD)
    accounts.add("ben", Role.VIEWER, by="ada")
    link = accounts.link_for("ben", by="ada")
    accounts.use_link(link, PASSWORD)
    accounts.set_role("ben", Role.REVIEWER, by="ada")
    accounts.change_password("ben", PASSWORD, OTHER)
    cookie, _ = accounts.start_session("ben", HOUR, way="password")
    token, made = accounts.make_token("ben", "t", [Scope.READ], HOUR, by="ben")
    accounts.revoke_token(made.id, by="ada")
    accounts.disable("ben", by="ada")
    accounts.enable("ben", by="ada")
    assert told() == [
        ("root", "link_made", None), ("ada", "account_made", "ada"), ("ada", "account_made", "ben"),
        ("ada", "link_made", "ben"), ("ben", "password_set", "ben"), ("ada", "role_changed", "ben"),
        ("ben", "password_changed", "ben"), ("ben", "signed_in", "ben"),
        ("ben", "token_made", "ben"), ("ada", "token_revoked", "ben"),
        ("ada", "account_disabled", "ben"), ("ada", "account_enabled", "ben"),
    ]  # fmt: skip
    kept = store_path.read_bytes() + store_path.with_name("store.db-wal").read_bytes()
    for secret in (first, link, cookie, token, PASSWORD, OTHER):
        assert secret.encode() not in kept


def test_records_are_what_they_say(accounts):
    account = enter(accounts)
    assert account.way() == "a password"
    assert replace(account, disabled=True).way() == "nothing: disabled"
