"""A policy's page, and the decisions taken on it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from policy_store.review.access import Viewer
from policy_store.review.actions import Order, Verb, offers, perform
from policy_store.review.guards import Deciding
from policy_store.review.rendering import afterwards, page
from policy_store.review.site import Here
from policy_store.review.situation import opened, sealed, situation_of

router = APIRouter(include_in_schema=False)


@router.get("/policies/{policy}")
def show(request: Request, site: Here, visitor: Viewer, policy: str) -> Response:
    """Evidence, gates, diff and decisions of one policy."""
    details = site.store.show(policy)
    now = situation_of(site.store, site.settings.deployment, details.version.digest)
    return page(
        request, "policy.html", visitor,
        details=details,
        offers=offers(details, now, visitor, site.settings),
        seen=sealed(now, site.settings),
        history=site.store.history(details.version.digest),
    )  # fmt: skip


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
    said = perform(site.store, site.settings, digest, order, visitor)
    site.publish()
    return afterwards(f"/policies/{digest}", said, site.settings)
