"""Who a proxy says is there: believed from trusted addresses alone, and only of who may come in."""

from ipaddress import ip_network

import pytest
from visiting import fields_of, visiting, with_access

from policy_store.records import Role
from policy_store.review import Settings
from policy_store.review.proxy import ProxyAccess, address_of

PROXY, STRANGER = "10.1.2.3", "10.2.0.1"
TRUSTED = (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))


@pytest.fixture
def behind(store):
    def make(unknown=None):
        settings = Settings(secret=b"s" * 32, trusted_proxies=TRUSTED)
        access = ProxyAccess(store.accounts, settings, "X-Forwarded-User", unknown)
        return visiting(store, with_access(access), trusted_proxies=TRUSTED)

    return make


def named(name):
    return {"X-Forwarded-User": name}


def test_a_trusted_proxy_says_who_is_there(behind):
    here = behind()
    here.site.store.accounts.add("ada", Role.REVIEWER, by="root")
    browser = here.browser(PROXY)
    assert "ada" in browser.get("/", headers=named("ada")).text
    assert browser.get("/", headers=named("eve")).status_code == 303
    assert browser.get("/").status_code == 303


def test_nobody_else_does(behind):
    here = behind(Role.ADMIN)
    here.site.store.accounts.add("ada", Role.ADMIN, by="root")
    headers = named("ada") | {"X-Forwarded-For": PROXY, "Forwarded": f"for={PROXY}"}
    for address in (STRANGER, "127.0.0.1", "", "not-an-address", "::1"):
        assert here.browser(address).get("/", headers=headers).status_code == 303


def test_two_names_are_nobodys(behind):
    here = behind()
    here.site.store.accounts.add("ada", Role.REVIEWER, by="root")
    twice = [("X-Forwarded-User", "ada"), ("X-Forwarded-User", "eve")]
    assert here.browser(PROXY).get("/", headers=twice).status_code == 303


def test_the_unknown_get_an_account_only_in_a_role_that_was_configured(behind):
    here = behind(Role.VIEWER)
    accounts = here.site.store.accounts
    assert here.browser(PROXY).get("/", headers=named("eve")).status_code == 200
    assert accounts.get("eve").role is Role.VIEWER
    assert here.site.store.audit.entries(subject="eve")[0].actor == f"proxy:{PROXY}"
    for name in ("EVE", "<script>", "x" * 100, "verifier"):
        assert here.browser(PROXY).get("/", headers=named(name)).status_code == 303
    accounts.add("root", Role.ADMIN, by="root")
    accounts.disable("eve", by="root")
    assert here.browser(PROXY).get("/", headers=named("eve")).status_code == 303


def test_forms_carry_a_token_of_the_person(behind):
    here = behind(Role.VIEWER)
    ada, eve = here.browser(PROXY), here.browser(PROXY)
    ada.headers.update(named("ada"))
    eve.headers.update(named("eve"))
    own, other = (fields_of(one, "/account", "/sign-out") for one in (ada, eve))
    assert ada.post("/sign-out", data=other).status_code == 403
    assert ada.post("/sign-out").status_code == 403
    assert ada.post("/sign-out", data=own).status_code == 303


class Asked:
    """As much of a request as tells where it is from."""

    def __init__(self, peer, forwarded):
        self.client = type("Peer", (), {"host": peer})
        self.headers = type("Headers", (), {"getlist": lambda _, name: list(forwarded)})()


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        (STRANGER, ["1.1.1.1"], STRANGER),
        (PROXY, ["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
        (PROXY, ["6.6.6.6", "1.1.1.1, 10.1.9.9"], "1.1.1.1"),
        (PROXY, [], PROXY),
        (PROXY, ["rubbish"], PROXY),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
    ],
)
def test_an_address_is_the_last_that_no_trusted_proxy_has(peer, forwarded, found):
    settings = Settings(secret=b"s" * 32, trusted_proxies=TRUSTED)
    assert address_of(Asked(peer, forwarded), settings) == found
