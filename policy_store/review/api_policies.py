"""Policies over the API: what there is, what is known about each, and submitting one by hand."""

from __future__ import annotations

import difflib
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Response

from policy_store.gates import latest_evidence
from policy_store.lifecycle import State
from policy_store.records import Origin, PolicyDetails
from policy_store.review import actions
from policy_store.review import api_models as models
from policy_store.review.access import Visitor
from policy_store.review.api_access import Decides, Reads
from policy_store.review.api_errors import refusals
from policy_store.review.api_models import AfterNumber, Digits, Limit
from policy_store.review.api_record_models import EntryPage
from policy_store.review.api_routes import Answered, NotFound, TooLarge, UnlessSame
from policy_store.review.comparison import sentence_of
from policy_store.review.paging import page_of
from policy_store.review.site import Here, Site
from policy_store.review.situation import BUILT_IN, sealed, situation_of
from policy_store.review.submission import submit
from sandbox.policies import default_source

router = APIRouter(
    prefix="/api/v1/policies", tags=["policies"], route_class=Answered, responses=refusals()
)
Author = Annotated[str | None, Query(min_length=1, max_length=80, pattern=models.PLAIN)]
AfterDigest = Annotated[
    str | None, Query(pattern="^[0-9a-f]{64}$", description="`next` of the page before.")
]
Known: dict[int | str, dict[str, Any]] = {
    200: {"model": models.Policy, "description": "It was there already."}
}
RunId = Annotated[str | None, Query(pattern="^[0-9a-f]{32}$", description="Only of this run.")]


@router.get("", operation_id="listPolicies", responses=UnlessSame | NotFound)
def policies(
    site: Here,
    _: Reads,
    state: State | None = None,
    origin: Origin | None = None,
    author: Author = None,
    run: RunId = None,
    after: AfterDigest = None,
    limit: Limit = 50,
) -> models.PolicyPage:
    """Policies, newest first; `state=evaluated` is the queue of those that wait."""
    found = site.store.list_policies(
        state=state, origin=origin, author=author, run=run, after=after, limit=limit + 1
    )
    items, last = page_of(found, limit)
    return models.PolicyPage.model_validate({"items": items, "next": last and last.digest})


@router.post(
    "", operation_id="submitPolicy", status_code=201,
    responses=Known | TooLarge,
)  # fmt: skip
def submit_policy(
    site: Here, visitor: Decides, body: models.Submission, response: Response
) -> models.Policy:
    """Have a policy verified, and file it; somebody else will have to approve it.

    What the verifier refuses is not kept: 422 says which lines, and how to mend them.
    """
    version, new = submit(
        site.store, body.source, body.parameters, name=body.name, author=visitor.name
    )
    response.status_code = 201 if new else 200
    return models.Policy.model_validate(version)


@router.get("/{policy}", operation_id="getPolicy", responses=UnlessSame | NotFound)
def policy(site: Here, _: Reads, policy: Digits) -> models.PolicyInFull:
    """One policy, with the verdict of its latest evidence."""
    return _in_full(site, site.store.show(policy))


@router.get("/{policy}/source", operation_id="getSource", responses=UnlessSame | NotFound)
def source(site: Here, _: Reads, policy: Digits) -> models.Source:
    """Its canonical source."""
    return models.Source.model_validate(site.store.show(policy).source)


@router.get("/{policy}/documents", operation_id="listDocuments", responses=UnlessSame | NotFound)
def documents(site: Here, _: Reads, policy: Digits) -> list[models.Document]:
    """What was measured, oldest first, without the contents."""
    return [models.Document.model_validate(one) for one in site.store.show(policy).documents]


@router.get(
    "/{policy}/documents/{document}", operation_id="getDocument", responses=UnlessSame | NotFound
)
def document(site: Here, _: Reads, policy: Digits, document: Digits) -> models.DocumentInFull:
    """One document in full."""
    known = site.store.show(policy).documents
    found = [one for one in known if one.digest.startswith(document)]
    if not found:
        raise HTTPException(404, f"This policy has no document {document[:12]}.")
    return models.DocumentInFull.model_validate(found[0])


@router.get("/{policy}/diff", operation_id="diffToActive", responses=UnlessSame | NotFound)
def diff_to_active(site: Here, _: Reads, policy: Digits) -> models.Diff:
    """What it changes about the active policy."""
    active = site.store.slot(deployment=site.settings.deployment).digest
    old = site.store.show(active) if active else None
    return diff_of(old, site.store.show(policy))


@router.get("/{policy}/diff/{other}", operation_id="diffPolicies", responses=UnlessSame | NotFound)
def diff(site: Here, _: Reads, policy: Digits, other: Digits) -> models.Diff:
    """What `policy` changes about `other`."""
    return diff_of(site.store.show(other), site.store.show(policy))


@router.get("/{policy}/offers", operation_id="getOffers", responses=UnlessSame | NotFound)
def offers(site: Here, visitor: Reads, policy: Digits) -> models.Offers:
    """What you can decide about it now, what will happen then, and why something cannot be."""
    return offers_now(site, visitor, policy)


@router.get("/{policy}/history", operation_id="getHistory", responses=UnlessSame | NotFound)
def history(
    site: Here, _: Reads, policy: Digits, after: AfterNumber = 0, limit: Limit = 50
) -> EntryPage:
    """What the audit log says about it, oldest first."""
    digest = site.store.resolve(policy)
    found = site.store.audit.entries(after=after, limit=limit + 1, subject=digest)
    items, last = page_of(found, limit)
    return EntryPage.model_validate({"items": items, "next": last and last.sequence})


def offers_now(site: Site, visitor: Visitor, policy: str) -> models.Offers:
    """The offers of a policy to a visitor, with what a decision on them has to carry."""
    details = site.store.show(policy)
    now = situation_of(site.store, site.settings.deployment, details.version.digest)
    found = actions.offers(details, now, visitor, site.settings)
    seen = sealed(now, site.settings)
    return models.Offers.model_validate({"offers": found, "seen": seen, "situation": now})


def _in_full(site: Site, details: PolicyDetails) -> models.PolicyInFull:
    latest = latest_evidence(details)
    facts = models.Policy.model_validate(details.version).model_dump()
    return models.PolicyInFull(
        **facts,
        claim=details.source.claim,
        verdict=latest.verdict if latest else None,
        outcome=latest.outcome.value if latest else None,
        objection=actions.objection_here(details, site.settings),
        documents=[models.Document.model_validate(one) for one in details.documents],
    )


def diff_of(old: PolicyDetails | None, new: PolicyDetails) -> models.Diff:
    """What `new` changes about `old`; None is the built-in default."""
    text = old.source.text if old else default_source().canonical
    before = old.version.parameters if old else default_source().parameters()
    after = new.version.parameters
    names = [one.version.digest[:12] if one else BUILT_IN for one in (old, new)]
    lines = difflib.unified_diff(
        text.splitlines(), new.source.text.splitlines(), names[0], names[1], lineterm=""
    )
    return models.Diff(
        old=old.version.digest if old else None,
        new=new.version.digest,
        change=sentence_of(text, new.source.text, before, after),
        unified="\n".join(lines),
        parameters={
            name: models.Moved(old=before.get(name), new=after.get(name))
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        },
    )
