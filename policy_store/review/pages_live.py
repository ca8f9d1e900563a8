"""What is live, on which hosts, since when and why; renewing it, and taking it back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response

from policy_store.errors import InvalidInput
from policy_store.records import Alias
from policy_store.review.access import Viewer, Visitor
from policy_store.review.actions import Offer, Order, Verb, offers, renewal_offer
from policy_store.review.guards import Deciding
from policy_store.review.live_view import Live, live_of
from policy_store.review.rendering import afterwards, page
from policy_store.review.site import Here, Site, take
from policy_store.review.situation import opened, sealed, situation_of

router = APIRouter(include_in_schema=False)

TRIAL_VERBS = (Verb.PROMOTE, Verb.END)


@router.get("/live")
def live(
    request: Request,
    site: Here,
    visitor: Viewer,
    deployment: Annotated[str, Query(max_length=80)] = "",
) -> Response:
    """What a deployment runs; decisions are taken only for the one that this page is for."""
    here = site.settings.deployment
    known = sorted({here, *site.store.deployments()})
    chosen = deployment or here
    if chosen not in known:
        raise InvalidInput("Nothing was ever decided for that deployment, nor did it report.")
    now = datetime.now(UTC)
    shown = live_of(site.store, chosen, now)
    mine = chosen == here
    return page(
        request, "live.html", visitor,
        shown=shown, places=shown.places, Alias=Alias, now=now, deployments=known, here=here,
        renewal=renewal_offer(situation_of(site.store, here), visitor) if mine else None,
        trials=_trials(site, visitor, shown) if mine else {},
        seen=sealed(situation_of(site.store, here), site.settings),
        hasty=mine and bool(shown.decisions) and shown.decisions[0].action == "rolled_back",
    )  # fmt: skip


@router.post("/roll-back")
def roll_back(
    site: Here,
    visitor: Deciding,
    note: Annotated[str, Form()] = "",
    seen: Annotated[str, Form()] = "",
) -> Response:
    """Take the active policy back; from every page."""
    return _decide(site, visitor, Verb.ROLL_BACK, note, seen)


@router.post("/live/renew")
def renew(
    site: Here,
    visitor: Deciding,
    note: Annotated[str, Form()] = "",
    seen: Annotated[str, Form()] = "",
) -> Response:
    """Let what is active run for another term."""
    return _decide(site, visitor, Verb.RENEW, note, seen)


@router.post("/live/remark")
def remark(
    site: Here,
    visitor: Deciding,
    policy: Annotated[str, Form()] = "",
    note: Annotated[str, Form()] = "",
) -> Response:
    """Say more about a decision that was taken in one click."""
    site.store.remark(policy, visitor.name, note, site.settings.deployment)
    return afterwards("/live", "What you said stands in the audit log.", site.settings)


def _decide(site: Site, visitor: Visitor, verb: Verb, note: str, seen: str) -> Response:
    order = Order(verb, note, opened(seen, site.settings))
    said = take(site, None, order, visitor)
    return afterwards("/live", said, site.settings)


def _trials(
    site: Site, visitor: Visitor, shown: Live
) -> Mapping[Alias, tuple[str, tuple[Offer, ...]]]:
    """For each trial: the situation for its forms, and what can be decided about it."""
    found = {}
    for alias in (Alias.CANARY, Alias.SHADOW):
        digest = shown.places[alias].slot.digest
        if digest is None:
            continue
        now = situation_of(site.store, site.settings.deployment, digest)
        offered = offers(site.store.show(digest), now, visitor, site.settings)
        found[alias] = (
            sealed(now, site.settings), tuple(one for one in offered if one.verb in TRIAL_VERBS)
        )  # fmt: skip
    return found
