"""The real page on a real server, read in a real browser, which may not fail in silence.

Anything that a page asks of another address, and any error, warning or report of the browser,
fails the test that it happened in. Skipped where no Chromium is installed.
"""

import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright
from scene import NOW, fill
from serving import served

from evolver.cli import run_commands
from evolver.cli.run_report import run_report
from policy_store import PolicyStore, passwords
from policy_store.review import (
    Settings,
    Site,
    create_app,
    pages_account,
    pages_audit,
    pages_live,
    pages_runs,
    rendering,
)
from policy_store.review.local_access import SESSION, LocalAccess, TokenAccess, cookie_name
from policy_store.review.stream import Watch
from sandbox.report import Report

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-lcd-text", "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
PATIENCE_MS = 30_000
CHEAP = passwords.Work(n=1 << 4)
REPORT_VIOLATIONS = """document.addEventListener('securitypolicyviolation',
  (event) => console.error(`policy of content: ${event.violatedDirective}`))"""


class Standing(datetime):
    """The wall clock of the scene."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:
        return NOW


@dataclass
class Desk:
    """One filled store behind the page, and people who sit before it."""

    base: str
    store: PolicyStore
    known: dict[str, str]
    settings: Settings
    chromium: Browser
    contexts: list[BrowserContext] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def seat(self, name: str = "", **options: object) -> Page:
        """A fresh browser window, signed in as somebody unless the name is left out."""
        context = self.chromium.new_context(**{"base_url": self.base, **options})
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(REPORT_VIOLATIONS)
        context.on("console", self._said)
        context.on("weberror", lambda error: self.problems.append(str(error.error)))
        context.on("request", lambda request: self._asked(request.url))
        if name:
            secret, _ = self.store.accounts.start_session(name, timedelta(hours=1), way="password")
            kept = cookie_name(self.settings, SESSION)
            context.add_cookies([{"name": kept, "value": secret, "url": self.base}])
        self.contexts.append(context)
        return context.new_page()

    def address(self, name: str, more: str = "") -> str:
        return f"/policies/{self.known[name]}{more}"

    def state(self, name: str) -> str:
        return self.store.show(self.known[name]).version.state.value

    def leave(self) -> None:
        for context in self.contexts:
            context.close()
        assert self.problems == []

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(
            words in message.text for words in self.expected
        ):
            self.problems.append(f"{message.text} ({message.location})")

    def _asked(self, address: str) -> None:
        if not address.startswith((f"{self.base}/", "data:", "blob:")):
            self.problems.append(f"a request to {address}")


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A filled store with people, and its policies."""
    path = tmp_path_factory.mktemp("scene") / "people.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "NOW", CHEAP)
        return path, fill(path, people=True)


@pytest.fixture(scope="session")
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same before anybody had an account."""
    path = tmp_path_factory.mktemp("scene") / "nobody.db"
    fill(path, people=False)
    return path


@pytest.fixture(scope="session")
def page_app(scene: tuple[Path, dict[str, str]]) -> Iterator[tuple[FastAPI, Settings]]:
    """The application on a free port; each test puts a store of its own behind it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        settings = Settings(secret=b"s" * 32, base_url=base, posts_per_minute=10**6)
        with PolicyStore.open(scene[0]) as store:
            app = create_app(site_over(store, settings))
            with served(app, listening):
                try:
                    yield app, settings
                finally:
                    explorer = getattr(app.state, "what_if", None)
                    if explorer is not None:
                        explorer.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for each module: what drives it leaves no event loop to other tests."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def desk(
    request: pytest.FixtureRequest,
    chromium: Browser,
    scene: tuple[Path, dict[str, str]],
    page_app: tuple[FastAPI, Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Desk]:
    """Where people decide; asked for with "nobody", the store is as on the first start."""
    template, known = scene
    app, settings = page_app
    for module in (rendering, pages_account, pages_audit, pages_live, pages_runs):
        monkeypatch.setattr(module, "datetime", Standing)
    monkeypatch.setattr(passwords, "NOW", CHEAP)
    if getattr(request, "param", "") == "nobody":
        template = request.getfixturevalue("nobody")
    with PolicyStore.open(shutil.copy(template, tmp_path / "store.db"), clock=lambda: NOW) as store:
        app.state.site = site_over(store, settings)
        app.state.watch = Watch(store, every_s=0.1)
        made = Desk(settings.base_url, store, known, settings, chromium)
        try:
            yield made
        finally:
            app.state.watch.stop()
            made.leave()


def site_over(store: PolicyStore, settings: Settings) -> Site:
    def story(run: str) -> Report:
        return run_report(run_commands.history_of(store, store.runs.find_run(run)))

    access = (TokenAccess(store.accounts), LocalAccess(store.accounts, settings))
    return Site(store, settings, access, lambda: None, story, recent=lambda: None)
