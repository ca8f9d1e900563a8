"""What waits for a decision, and every policy there is."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from policy_store.errors import InvalidInput
from policy_store.lifecycle import State
from policy_store.records import Origin, PolicyVersion
from policy_store.review.access import Viewer
from policy_store.review.glance import glances
from policy_store.review.paging import page_of
from policy_store.review.rendering import other_page, page
from policy_store.review.site import Here

router = APIRouter(include_in_schema=False)

QUEUE_PAGE, LIST_PAGE = 25, 50
LOOKED, APART_S = "looked", 1800  # who comes back after half an hour has been away
AFTER_A_DECISION = (
    State.APPROVED, State.SHADOW, State.CANARY, State.ACTIVE, State.REJECTED, State.EJECTED,
    State.ROLLED_BACK,
)  # fmt: skip

After = Annotated[str | None, Query(max_length=64)]


@router.get("/")
def queue(
    request: Request,
    site: Here,
    visitor: Viewer,
    state: State = State.EVALUATED,
    after: After = None,
) -> Response:
    """The policies that wait for a decision, or those in another state, newest first."""
    versions = site.store.list_policies(state=state, after=after, limit=QUEUE_PAGE + 1)
    shown, last = page_of(versions, QUEUE_PAGE)
    lines = glances(site.store, shown)
    left_at, cookie = _looked(request.cookies.get(LOOKED, ""))
    answer = page(
        request, "queue.html", visitor,
        lines=lines, state=state, counts=site.store.count_by_state(),
        states=(State.EVALUATED, *AFTER_A_DECISION), left_at=left_at,
        fresh=sum(line.measured_at.timestamp() > left_at for line in lines) if left_at else 0,
        more=_more(request, last),
    )  # fmt: skip
    answer.set_cookie(
        LOOKED, cookie, max_age=90 * 86_400, httponly=True, samesite="strict",
        secure=site.settings.https,
    )  # fmt: skip
    return answer


@router.get("/policies")
def policies(
    request: Request,
    site: Here,
    visitor: Viewer,
    state: State | Literal[""] = "",
    origin: Origin | Literal[""] = "",
    run: Annotated[str, Query(max_length=32)] = "",
    words: Annotated[str, Query(max_length=80)] = "",
    after: After = None,
) -> Response:
    """Every version, newest first."""
    if not words.isprintable():
        raise InvalidInput("A name has only printable characters: search for some of them.")
    versions = site.store.list_policies(
        state=state or None, origin=origin or None,
        run=site.store.runs.find_run(run).id if run else None,
        words=words.strip(), after=after, limit=LIST_PAGE + 1,
    )  # fmt: skip
    shown, last = page_of(versions, LIST_PAGE)
    return page(
        request, "policies.html", visitor,
        versions=shown, states=tuple(State), origins=tuple(Origin),
        counts=site.store.count_by_state(), state=state or "", origin=origin or "", run=run,
        words=words, after=after, first=other_page(request, after=""),
        more=_more(request, last),
    )  # fmt: skip


def _more(request: Request, last: PolicyVersion | None) -> str:
    return other_page(request, after=last.digest) if last else ""


def _looked(cookie: str) -> tuple[int, str]:
    """When somebody left before they came back, 0 when they never were here; the next cookie."""
    now = int(time.time())
    try:
        left_at, last = (int(part) for part in cookie.split("."))
    except ValueError:
        return 0, f"0.{now}"
    if now - last > APART_S:
        left_at = last
    return left_at, f"{left_at}.{now}"
