"""A policy's page, its source and export, what differs between two, and decisions."""

from __future__ import annotations

from functools import cache
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from markupsafe import Markup

from policy_store.errors import DamagedStore
from policy_store.records import Alias
from policy_store.review.access import Viewer
from policy_store.review.actions import Order, Verb, offers
from policy_store.review.close_up_view import close_up_view
from policy_store.review.comparison import View, compared, side_of
from policy_store.review.diff_view import Layout
from policy_store.review.guards import Deciding
from policy_store.review.policy_view import PolicyView, chosen, policy_view
from policy_store.review.rendering import afterwards, asset, environment, page
from policy_store.review.site import Here, Site, take
from policy_store.review.situation import opened, sealed, situation_of
from policy_store.rule_application import judged

router = APIRouter(include_in_schema=False)


def _view(
    against: Annotated[str, Query(max_length=64)] = "",
    view: str = "",
    comments: str = "",
    window: Annotated[str, Query(max_length=64)] = "",
) -> View:
    """How to see it; an unknown word is the usual way, since people edit addresses."""
    layout = Layout.SPLIT if view == Layout.SPLIT.value else Layout.UNIFIED
    return View(against, layout, comments == "hide", window)


Seen = Annotated[View, Depends(_view)]


@router.get("/policies/{policy}")
def show(request: Request, site: Here, visitor: Viewer, policy: str, view: Seen) -> Response:
    """Evidence, gates, diff and decisions of one policy."""
    digest = site.store.resolve(policy)
    try:
        shown = _gathered(site, digest, view)
        now = situation_of(site.store, site.settings.deployment, digest)
    except DamagedStore as damage:
        history = site.store.history(digest)
        return page(request, "policy_damaged.html", visitor, digest=digest, damage=str(damage),
                    history=history, names={})  # fmt: skip
    return page(
        request, "policy.html", visitor,
        policy=shown,
        details=shown.details,
        names=shown.names,
        offers=offers(shown.details, now, visitor, site.settings),
        seen=sealed(now, site.settings),
        weight=site.settings.canary_weight,
        judgements=judged(site.store, site.settings.deployment, digest),
    )  # fmt: skip


@router.get("/policies/{policy}/source")
def source(site: Here, visitor: Viewer, policy: str) -> Response:
    """The source byte for byte; browsers show it as text and nothing else."""
    del visitor
    text = site.store.show(policy).source.text
    return PlainTextResponse(text, headers={"X-Content-Type-Options": "nosniff"})


@router.get("/policies/{policy}/export")
def export(site: Here, visitor: Viewer, policy: str, view: Seen) -> Response:
    """The page without decisions as one file that needs nothing else."""
    del visitor
    shown = _gathered(site, site.store.resolve(policy), view)
    keys = [key for key, _ in shown.close_up.windows]
    looked = [close_up_view(shown.details, key).shown for key in keys]
    html = environment().get_template("policy_export.html").render(
        policy=shown, details=shown.details, names=shown.names, looked=looked, styles=_styles(),
        made_from=site.settings.base_url,
    ).replace('href="/', f'href="{site.settings.base_url}/')  # fmt: skip
    name = f"policy-{shown.details.version.digest[:12]}.html"
    return HTMLResponse(html, headers={"Content-Disposition": f'attachment; filename="{name}"'})


@router.get("/diff")
def difference(
    request: Request, site: Here, visitor: Viewer, old: str, new: str, view: Seen
) -> Response:
    """What differs between any two stored versions."""
    before, after = site.store.show(old), site.store.show(new)
    comparison = compared(side_of(before), side_of(after), view.bare)
    return page(request, "diff.html", visitor, comparison=comparison, view=view,
                old=before.version, new=after.version)  # fmt: skip


@router.post("/policies/{policy}/{verb}")
def decide(
    site: Here,
    visitor: Deciding,
    policy: str,
    verb: Verb,
    note: Annotated[str, Form()] = "",
    seen: Annotated[str, Form()] = "",
    weight: Annotated[float | None, Form()] = None,
    override: Annotated[bool, Form()] = False,
) -> Response:
    """Take a decision; the page shows what came of it."""
    digest = site.store.resolve(policy)
    order = Order(verb, note, opened(seen, site.settings), weight, override)
    said = take(site, digest, order, visitor)
    return afterwards(f"/policies/{digest}", said, site.settings)


def _gathered(site: Site, digest: str, view: View) -> PolicyView:
    active = site.store.slot(Alias.ACTIVE, site.settings.deployment).digest
    details = site.store.show(digest)
    return policy_view(site.store, details, active, chosen(details, active, site.store, view))


@cache
def _styles() -> Markup:
    """Our own style sheets, for a file that cannot fetch them."""
    sheets = (asset(name)[0].decode() for name in ("review.css", "policy.css"))
    return Markup("\n".join(sheets))  # noqa: S704 - files of ours
