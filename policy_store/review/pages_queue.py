"""What waits for a decision, and every policy there is."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from policy_store.lifecycle import State
from policy_store.review.access import Viewer
from policy_store.review.rendering import page
from policy_store.review.site import Here

router = APIRouter(include_in_schema=False)


@router.get("/")
def queue(request: Request, site: Here, visitor: Viewer) -> Response:
    """The policies that wait for a decision, newest first."""
    waiting = site.store.list_policies(state=State.EVALUATED, limit=200)
    return page(request, "queue.html", visitor, policies=waiting)
