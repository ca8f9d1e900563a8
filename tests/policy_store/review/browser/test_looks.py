"""Each page as people meet it: for all senses, in both schemes of colours, on a phone.

With EVOLVER_SCREENSHOTS=1 the pictures of docs/review are made again.
"""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page

AUDIT = Path(__file__).with_name("audit.js").read_text()
PICTURES = Path(__file__).parents[4] / "docs/review"
WANTED = os.environ.get("EVOLVER_SCREENSHOTS") == "1"
WIDE, PHONE = {"width": 1060, "height": 720}, {"width": 360, "height": 740}
MAIN = "/policies/considerate-completion"
UNFOLD = "document.querySelectorAll('main details').forEach((one) => { one.open = true; })"
WIDER = "document.documentElement.scrollWidth - innerWidth"
BESIDE = """[...document.querySelectorAll('body *')]
    .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
    .map((one) => `${one.tagName} ${one.className} ${one.textContent.trim().slice(0, 40)}`)"""
SHOTS = {
    "queue": {"": None, "-dark": None, "-phone": None},
    "policy": {
        "": None,
        "-change": "change",
        "-windows": "windows",
        "-close-up": "distributions",
        "-losses": "losses",
        "-decide": "decide",
        "-phone-dark": None,
    },
    "live": {"": None, "-dark": None, "-phone": None},
}
UNSEEN = ("policy-lost", "audit-entry", "audit-verify", "refused", "welcome", "policies")
PLAIN = {"": None}
"""Which pictures are taken of a page: the end of the name, and the part at the top."""
PAGES = {
    "queue": "/",
    "policy": MAIN,
    "policy-lost": "/policies/greedy-batch",
    "explorer": f"{MAIN}/explore",
    "last-hour": f"{MAIN}/last-hour",
    "live": "/live",
    "policies": "/policies",
    "lineage": "/lineage?policy=considerate-completion",
    "runs": "/runs",
    "run": "/runs/RUN",
    "audit": "/audit",
    "audit-entry": "/audit/5",
    "audit-verify": "/audit/verify",
    "rules": "/rules?policy=lower-knee",
    "people": "/people",
    "account": "/account",
    "refused": "/policies/0000",
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_for_everybody(desk, name):
    address = PAGES[name]
    for policy, digest in desk.known.items():
        address = address.replace(policy, digest)
    address = address.replace("RUN", desk.store.runs.list_runs()[1].id)
    desk.expected += ["404"] if name == "refused" else []
    page = desk.seat("ada", viewport=WIDE)
    page.goto(address)
    check(page, name)


@pytest.mark.parametrize("desk", ["nobody"], indirect=True)
def test_the_ways_in_are_for_everybody(desk):
    page = desk.seat(viewport=WIDE)
    page.goto(f"/welcome/{desk.store.accounts.first_link(by='root')}")
    check(page, "welcome")
    page.goto("/sign-in")
    check(page, "sign-in")


def check(page: Page, name: str) -> None:
    """Take its pictures, then look at all of it, unfolded."""
    if WANTED:
        take(page, name)
    page.evaluate(UNFOLD)
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        assert "\n".join(page.evaluate(AUDIT)) == "", scheme
    page.set_viewport_size(PHONE)
    wider = page.evaluate(WIDER)
    assert wider <= 0, (wider, page.evaluate(BESIDE))


def take(page: Page, name: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    for kind, part in SHOTS.get(name, PLAIN if name not in UNSEEN else {}).items():
        dark, small = "dark" in kind, "phone" in kind
        page.emulate_media(color_scheme="dark" if dark else "light")
        page.set_viewport_size(PHONE if small else WIDE)
        page.evaluate("at => (document.getElementById(at) || document.body).scrollIntoView()", part)
        path = PICTURES / f"{name}{kind}.png"
        page.screenshot(path=path, animations="disabled", caret="hide")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(WIDE)
