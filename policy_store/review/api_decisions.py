"""Decisions over the API, and what is live: the same table of actions that the pages use."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter

from policy_store.review import api_models as models
from policy_store.review.access import Visitor
from policy_store.review.actions import Order, Verb, renewal_offer, rollback_offer
from policy_store.review.api_access import Decides, Reads
from policy_store.review.api_errors import refusals
from policy_store.review.api_models import AfterNumber, Digits, Limit
from policy_store.review.api_routes import (
    Answered,
    Conflict,
    NotFound,
    TooLarge,
    UnlessSame,
)
from policy_store.review.paging import page_of
from policy_store.review.site import Here, Site, take
from policy_store.review.situation import Situation, opened, sealed, situation_of

router = APIRouter(prefix="/api/v1", route_class=Answered, responses=refusals())


@router.post(
    "/policies/{policy}/decisions", operation_id="decide", tags=["decisions"], responses=Conflict
)
def decide(site: Here, visitor: Decides, policy: Digits, body: models.Decision) -> models.Decided:
    """Take a decision; it counts once.

    What it was made on comes with it, and every decision changes that: sent again, by a person in
    doubt or a program that saw no answer, it is refused as `stale` and changes nothing. The
    policy's history says who decided what.
    """
    digest = site.store.resolve(policy)
    seen = _seen(site, body.seen, digest)
    order = Order(Verb(body.verb), body.note, seen, body.weight, body.override)
    said = take(site, digest, order, visitor)
    now = situation_of(site.store, site.settings.deployment, digest)
    version = models.Policy.model_validate(site.store.find_policies([digest])[digest])
    return models.Decided(said=said, policy=version, seen=sealed(now, site.settings))


@router.post(
    "/policies/{policy}/remarks", operation_id="remark", tags=["decisions"], status_code=204,
    responses=NotFound | TooLarge,
)  # fmt: skip
def remark(site: Here, visitor: Decides, policy: Digits, body: models.Remark) -> None:
    """Say more about a decision that was taken; it changes nothing else."""
    site.store.remark(policy, visitor.name, body.note, site.settings.deployment)


@router.get("/live", operation_id="getLive", tags=["live"], responses=UnlessSame)
def live(site: Here, visitor: Reads) -> models.Live:
    """What the deployment runs, and what taking it back would do."""
    return _live(site, visitor)


@router.post("/live/roll-back", operation_id="rollBack", tags=["decisions"], responses=Conflict)
def roll_back(site: Here, visitor: Decides, body: models.LiveDecision) -> models.LiveDecided:
    """Take the active policy back; it counts once, as every decision."""
    return _decided(site, visitor, Verb.ROLL_BACK, body)


@router.post("/live/renew", operation_id="renew", tags=["decisions"], responses=Conflict)
def renew(site: Here, visitor: Decides, body: models.LiveDecision) -> models.LiveDecided:
    """Let the active policy run for another term; it counts once, as every decision."""
    return _decided(site, visitor, Verb.RENEW, body)


@router.get("/live/hosts", operation_id="listHosts", tags=["live"], responses=UnlessSame)
def hosts(site: Here, _: Reads) -> models.Hosts:
    """What each serving host said last."""
    return models.Hosts.model_validate({"items": site.store.hosts(site.settings.deployment)})


@router.get("/live/activations", operation_id="listActivations", tags=["live"],
            responses=UnlessSame)  # fmt: skip
def activations(
    site: Here, _: Reads, after: AfterNumber = 0, limit: Limit = 50
) -> models.ActivationPage:
    """What each sequence named, oldest first."""
    found = site.store.activations(site.settings.deployment, after=after, limit=limit + 1)
    items, last = page_of(found, limit)
    return models.ActivationPage.model_validate({"items": items, "next": last and last.sequence})


def _decided(
    site: Site, visitor: Visitor, verb: Verb, body: models.LiveDecision
) -> models.LiveDecided:
    order = Order(verb, body.note, _seen(site, body.seen, None))
    said = take(site, None, order, visitor)
    return models.LiveDecided(said=said, live=_live(site, visitor))


def _live(site: Site, visitor: Visitor) -> models.Live:
    deployment = site.settings.deployment
    now = situation_of(site.store, deployment)
    return models.Live.model_validate({
        "deployment": deployment,
        "slots": site.store.slots(deployment),
        "waiting": site.store.waiting(),
        "rollback": rollback_offer(now, visitor),
        "renewal": renewal_offer(now, visitor),
        "seen": sealed(now, site.settings),
        "situation": now,
    })  # fmt: skip


def _seen(site: Site, seen: str | models.Seen, policy: str | None) -> Situation:
    """What a decision was made on; spelt out, its sequences stand for who held the places."""
    if isinstance(seen, str):
        return opened(seen, site.settings)
    now = situation_of(site.store, site.settings.deployment)
    sequences = {str(alias): number for alias, number in seen.sequences.items()}
    if policy is None:
        return replace(now, sequences=sequences)
    return replace(
        now, policy=policy, state=seen.state, evidence=tuple(seen.evidence), sequences=sequences,
        decided=seen.decided,
    )  # fmt: skip
