"""Runs and the audit log over the API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from policy_store.review import api_record_models as models
from policy_store.review.api_access import Reads
from policy_store.review.api_errors import refusals
from policy_store.review.api_models import PLAIN, AfterNumber, Limit
from policy_store.review.api_routes import Answered, NotFound, UnlessSame
from policy_store.review.log_check import checked
from policy_store.review.paging import page_of
from policy_store.review.site import Here

router = APIRouter(prefix="/api/v1", route_class=Answered, responses=refusals())
RunId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", examples=["0f" * 16])]
AfterRun = Annotated[
    str | None, Query(pattern="^[0-9a-f]{32}$", description="`next` of the page before.")
]
Word = Annotated[str | None, Query(min_length=1, max_length=80, pattern=PLAIN)]
Subject = Annotated[str | None, Query(min_length=1, max_length=64, pattern=PLAIN)]


@router.get("/runs", operation_id="listRuns", tags=["runs"], responses=UnlessSame | NotFound)
def runs(site: Here, _: Reads, after: AfterRun = None, limit: Limit = 50) -> models.RunPage:
    """Evolution runs, newest first."""
    found = site.store.runs.list_runs(limit + 1, after=after)
    items, last = page_of(found, limit)
    return models.RunPage.model_validate({"items": items, "next": last and last.id})


@router.get("/runs/{run}", operation_id="getRun", tags=["runs"], responses=UnlessSame | NotFound)
def run(site: Here, _: Reads, run: RunId) -> models.Run:
    """One run."""
    return models.Run.model_validate(site.store.runs.get_run(run))


@router.get(
    "/runs/{run}/events", operation_id="listEvents", tags=["runs"],
    responses=UnlessSame | NotFound,
)  # fmt: skip
def events(
    site: Here, _: Reads, run: RunId, kind: Word = None, after: AfterNumber = 0, limit: Limit = 50
) -> models.EventPage:
    """What happened in a run, in order; of one kind, if it is given."""
    kinds = () if kind is None else (kind,)
    found = site.store.runs.events(run, after=after, limit=limit + 1, kinds=kinds)
    items, last = page_of(found, limit)
    return models.EventPage.model_validate({"items": items, "next": last and last.sequence})


@router.get("/audit", operation_id="listEntries", tags=["audit"], responses=UnlessSame)
def audit(
    site: Here,
    _: Reads,
    subject: Subject = None,
    actor: Word = None,
    action: Word = None,
    after: AfterNumber = 0,
    limit: Limit = 50,
) -> models.EntryPage:
    """Who decided what and why, oldest first."""
    found = site.store.audit.entries(
        after=after, limit=limit + 1, subject=subject, actor=actor, action=action
    )
    items, last = page_of(found, limit)
    return models.EntryPage.model_validate({"items": items, "next": last and last.sequence})


@router.get("/audit/verification", operation_id="verifyAudit", tags=["audit"])
def verification(site: Here, _: Reads) -> models.Verification:
    """Check the whole log, from its first entry; one such check runs at a time."""
    return models.Verification.model_validate(checked(site.store))
