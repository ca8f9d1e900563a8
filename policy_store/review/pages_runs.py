"""Evolution runs: what each found and cost, and one in full."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from markupsafe import Markup

from policy_store.records import Run
from policy_store.review.access import Viewer
from policy_store.review.paging import page_of
from policy_store.review.rendering import other_page, page
from policy_store.review.site import Here, Site
from sandbox.report import Report
from sandbox.report_html import body_of

router = APIRouter(include_in_schema=False)

SHOWN, PROPOSED_SHOWN = 40, 20


@dataclass(frozen=True, slots=True)
class Line:
    """One run in short; None is what it does not say."""

    run: Run
    trace: str
    gain: float | None
    evaluations: float | None
    tokens: float | None
    price_usd: float | None
    seconds: float


@router.get("/runs")
def runs(
    request: Request,
    site: Here,
    visitor: Viewer,
    after: Annotated[str | None, Query(max_length=32)] = None,
) -> Response:
    """Runs, newest first."""
    found = site.store.runs.list_runs(SHOWN + 1, after=after)
    shown, last = page_of(found, SHOWN)
    more = other_page(request, after=last.id) if last else ""
    return page(
        request, "runs.html", visitor,
        lines=[_line(run) for run in shown], after=after, more=more,
    )  # fmt: skip


@router.get("/runs/{run}")
def run(
    request: Request, site: Here, visitor: Viewer, run: Annotated[str, Path(max_length=32)]
) -> Response:
    """One run in full, by its id or the first digits of it."""
    found = site.store.runs.find_run(run)
    return page(
        request, "run.html", visitor,
        line=_line(found), story=_story(site, found),
        proposed=site.store.list_policies(run=found.id, limit=PROPOSED_SHOWN + 1),
        most=PROPOSED_SHOWN,
    )  # fmt: skip


def _story(site: Site, run: Run) -> Markup | None:
    if site.story is None or run.pruned_at is not None:
        return None
    return _told(site.story, run.id) if run.finished_at is None else _kept(site.story, run.id)


def _told(story: Callable[[str], Report], run: str) -> Markup:
    return Markup(body_of(story(run)))  # noqa: S704 - it escapes every text


@lru_cache(maxsize=8)
def _kept(story: Callable[[str], Report], run: str) -> Markup:
    """A finished run does not change any more, and telling it reads all of its events."""
    return _told(story, run)


def _line(run: Run) -> Line:
    summary = run.summary or {}
    ended = run.finished_at or datetime.now(UTC)
    return Line(
        run=run,
        trace=str(run.config.get("trace_name") or ""),
        gain=_number(summary, "gain"),
        evaluations=_number(summary, "evaluations"),
        tokens=_number(summary, "tokens"),
        price_usd=_number(summary, "price_usd"),
        seconds=(ended - run.started_at).total_seconds(),
    )


def _number(summary: Mapping[str, object], name: str) -> float | None:
    value = summary.get(name)
    return float(value) if isinstance(value, int | float) else None
