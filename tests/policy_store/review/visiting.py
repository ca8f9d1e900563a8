"""A review page that people really sign in to, and the browsers they do it with."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fastapi import FastAPI
from fastapi.testclient import TestClient

from policy_store import PolicyStore
from policy_store.records import Role
from policy_store.review import Settings, Site, create_app
from policy_store.review.local_access import LocalAccess, TokenAccess

BASE = "http://127.0.0.1:8600"
PASSWORD, OTHER = "four words are enough", "other words are enough"


@dataclass
class Seconds:
    """A clock that a test moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Visiting:
    """A site with real ways to come in; each `browser()` has cookies of its own."""

    site: Site
    app: FastAPI = field(init=False)

    def __post_init__(self) -> None:
        self.app = create_app(self.site)

    def browser(self, address: str = "127.0.0.1") -> TestClient:
        return TestClient(
            self.app, base_url=self.site.settings.base_url, client=(address, 50000),
            follow_redirects=False,
        )  # fmt: skip

    def add(self, name: str, role: Role = Role.REVIEWER, password: str = PASSWORD) -> None:
        accounts = self.site.store.accounts
        accounts.add(name, role, by="root")
        accounts.use_link(accounts.link_for(name, by="root"), password)

    def signed_in(self, name: str, role: Role = Role.REVIEWER) -> TestClient:
        self.add(name, role)
        browser = self.browser()
        assert sign_in(browser, name).status_code == 303
        return browser


def visiting(
    store: PolicyStore, change: Callable[[Site], Site] = lambda site: site, **fields: object
) -> Visiting:
    settings = Settings(secret=b"s" * 32, **{"base_url": BASE, **fields})
    access = (TokenAccess(store.accounts), LocalAccess(store.accounts, settings))
    return Visiting(change(Site(store, settings, access, lambda: None)))


def with_access(*access: object) -> Callable[[Site], Site]:
    return lambda site: replace(site, access=(*access, *site.access))


def fields_of(browser: TestClient, page: str, action: str) -> dict[str, str]:
    """The hidden fields of the first form on a page that goes to `action`."""
    html = browser.get(page).text
    found = re.search(rf'<form[^>]*action="{re.escape(action)}".*?</form>', html, re.S)
    assert found, f"{page} has no form to {action}"
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', found[0]))


def send(browser: TestClient, page: str, action: str, **fields: str) -> object:
    return browser.post(action, data=fields_of(browser, page, action) | fields)


def sign_in(browser: TestClient, name: str, password: str = PASSWORD, **fields: str) -> object:
    return send(browser, "/sign-in", "/sign-in", name=name, password=password, **fields)
