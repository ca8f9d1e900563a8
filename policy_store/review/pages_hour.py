"""What would have happened: the page of a policy's replay of the last real hour."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, FastAPI, Request, Response

from policy_store.errors import InvalidInput
from policy_store.records import Alias, EvidenceRecord, Kind, PolicyDetails, Role
from policy_store.review.access import Viewer
from policy_store.review.close_up_view import WindowView, window_view
from policy_store.review.guards import Deciding
from policy_store.review.last_hours import MOST_REQUESTS, LastHours
from policy_store.review.rendering import afterwards, page
from policy_store.review.site import Here, Site
from sandbox.close_up import CloseUp, CloseUpRefused

REFRESH_S = 2
_making = threading.Lock()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    hours: LastHours | None = getattr(app.state, "last_hours", None)
    if hours is not None:
        hours.close()


router = APIRouter(include_in_schema=False, lifespan=_lifespan)


@dataclass(frozen=True, slots=True)
class Replayed:
    """A replay that was kept.

    Attributes:
        active: digest of the policy that it was compared with.
        began_at, ended_at: of the stretch that was measured.
        verdict: what came of it in a sentence.
    """

    record: EvidenceRecord
    view: WindowView
    active: str
    began_at: datetime
    ended_at: datetime
    verdict: str


@router.get("/policies/{policy}/last-hour")
def show(request: Request, site: Here, visitor: Viewer, policy: str) -> Response:
    """How far the replay is, and the last one that was done."""
    details = site.store.show(policy)
    hours = _hours(request, site)
    progress = hours.progress(details.version.digest) if hours else None
    replayed, problem = _latest(details)
    shown = page(
        request, "hour.html", visitor,
        details=details, progress=progress, replayed=replayed, problem=problem,
        still=replayed is not None and replayed.active == _active(site),
        can=hours is not None, may=visitor.may(Role.REVIEWER), most=MOST_REQUESTS,
    )  # fmt: skip
    if progress is not None and progress.goes_on:
        # to an address without what was said before: that is over
        shown.headers["Refresh"] = f"{REFRESH_S}; url={request.url.path}"
    return shown


@router.post("/policies/{policy}/last-hour")
def start(request: Request, site: Here, visitor: Deciding, policy: str) -> Response:
    """Have the last hour replayed under this policy."""
    digest = site.store.resolve(policy)
    hours = _hours(request, site)
    if hours is None:
        raise InvalidInput("This page knows of no request log: start it with --requests FILE.")
    hours.start(digest, visitor.name)
    return afterwards(
        f"/policies/{digest}/last-hour", "The last hour is being replayed.", site.settings
    )


def _hours(request: Request, site: Site) -> LastHours | None:
    """The replays of this page, made when they are first asked for."""
    if site.recent is None:
        return None
    state = request.app.state
    with _making:
        if not hasattr(state, "last_hours"):
            state.last_hours = LastHours(site.store, site.settings.deployment, site.recent)
    hours: LastHours = state.last_hours
    return hours


def _active(site: Site) -> str:
    from sandbox.policies import default_source

    live = site.store.slot(Alias.ACTIVE, site.settings.deployment).digest
    return live or default_source().digest()


def _latest(details: PolicyDetails) -> tuple[Replayed | None, str]:
    """The newest replay, or why it cannot be shown."""
    records = details.of_kind(Kind.LAST_HOUR)
    if not records:
        return None, ""
    try:
        close_up = CloseUp.from_document(records[-1].document)
        window = close_up.windows[0]
        began_at, ended_at = (datetime.fromtimestamp(s, UTC)
                              for s in (window.start_s, window.stop_s))  # fmt: skip
    except CloseUpRefused as refused:
        return None, str(refused)
    except (ValueError, OverflowError, OSError):
        return None, "Its times are none: replay the last hour again."
    times = (window.candidate.objective_s, window.active.objective_s)
    return Replayed(
        records[-1], window_view(window), close_up.active, began_at, ended_at, _verdict(*times)
    ), ""


def _verdict(mine_s: float | None, theirs_s: float | None) -> str:
    if mine_s is None or theirs_s is None or theirs_s <= 0.0:
        return "Nothing of that hour can be compared."
    change = mine_s / theirs_s - 1.0
    word = "shorter" if change < 0 else "longer"
    return (
        f"The mean end-to-end time would have been {mine_s:.3g} s under this policy and "
        f"{theirs_s:.3g} s under the active one, {abs(100 * change):.1f} % {word}."
    )
