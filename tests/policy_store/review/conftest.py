"""A review page over a store with real evidence, and browsers of people with each role."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from measurements import SOURCE, measurements
from starlette.datastructures import State

from policy_store import Origin, PolicyStore
from policy_store.records import Role
from policy_store.review import Settings, Site, create_app
from policy_store.review.access import Visitor
from policy_store.review.stream import Watch
from sandbox.evidence import Outcome

BASE = "http://127.0.0.1:8600"
SETTINGS = Settings(secret=b"s" * 32, base_url=BASE, posts_per_minute=10**6)


@dataclass
class FixedAccess:
    """Everybody who asks is this visitor; None is a stranger."""

    visitor_now: Visitor | None = None

    def visitor(self, request: Request) -> Visitor | None:
        del request
        return self.visitor_now


@dataclass
class Published:
    """Counts the snapshots that would be written."""

    times: int = 0

    def __call__(self) -> None:
        self.times += 1


@dataclass
class Reviewing:
    """A site, a browser at it, and what a test wants to know of either."""

    site: Site
    browser: TestClient
    access: FixedAccess
    published: Published = field(default_factory=Published)

    def as_(self, name: str, role: Role = Role.REVIEWER) -> TestClient:
        self.access.visitor_now = Visitor(name, role, csrf=f"csrf-of-{name}")
        return self.browser

    def form(self, address: str, action: str) -> dict[str, str]:
        """The hidden fields of the form on a page that goes to `action`."""
        html = self.browser.get(address).text
        found = re.search(rf'<form[^>]*action="{re.escape(action)}".*?</form>', html, re.S)
        assert found, f"{address} has no form to {action}"
        fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', found[0])
        return dict(fields)

    def decide(self, policy: str, verb: str, **fields: str) -> object:
        address = f"/policies/{policy}"
        form = self.form(address, f"{address}/{verb}") | {"note": "because"} | fields
        return self.browser.post(f"{address}/{verb}", data=form, follow_redirects=False)


@pytest.fixture(scope="session")
def some_app(template: Path) -> Iterator[FastAPI]:
    """An application whose routes are ready: getting them so takes longer than most tests."""
    with PolicyStore.open(template) as nothing:
        yield create_app(Site(nothing, SETTINGS, (), lambda: None))


@pytest.fixture
def reviewing(store: PolicyStore, some_app: FastAPI) -> Iterator[Reviewing]:
    access, published = FixedAccess(), Published()
    site = Site(store, SETTINGS, (access,), published)
    some_app.state = State({"site": site, "watch": Watch(store)})
    with TestClient(some_app, base_url=BASE) as browser:
        yield Reviewing(site, browser, access, published)


@pytest.fixture
def measured(store: PolicyStore) -> Callable[..., str]:
    """Proposes, verifies and measures a policy; `outcome` is what its evidence says."""
    count = iter(range(1, 1000))

    def make(
        outcome: Outcome = Outcome.IMPROVED,
        text: str = SOURCE,
        signals: str = "full",
        **fields: object,
    ) -> str:
        knee = float(next(count))
        values = {"name": f"candidate-{knee:g}", "origin": Origin.MUTATOR, "author": "mutator",
                  "contract_version": 1, "parameters": {"KNEE": knee}} | fields  # fmt: skip
        digest = store.propose(text, **values).digest
        store.record_verified(digest, by="verifier")
        evidence = replace(measurements(digest, outcome=outcome), signals=signals)
        store.attach_evidence(digest, evidence.document(), by="simulator")
        return digest

    return make
