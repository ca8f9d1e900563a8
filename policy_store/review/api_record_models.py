"""What the API says about runs and the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import Field

from policy_store.review.api_models import Said

NEXT_NUMBER = Field(description="`after` for the next page; null at the end.")


class Entry(Said):
    """One line of the audit log; `hash` covers all other fields."""

    sequence: int
    at: datetime
    actor: str
    action: str = Field(examples=["approved"])
    subject: str | None = Field(description="What it is about: most often a policy's digest.")
    deployment: str | None
    note: str
    details: Mapping[str, Any]
    previous_hash: str
    hash: str


class EntryPage(Said):
    """Entries, oldest first."""

    items: list[Entry]
    next: int | None = NEXT_NUMBER


class Verification(Said):
    """What checking the whole log said."""

    intact: bool
    entries: int
    head: str = Field(description="Hash of the last entry: compare it with one kept elsewhere.")
    first_bad: int | None = Field(description="The first entry that is not as it was written.")
    reason: str


class Run(Said):
    """One evolution run; without an end it goes on, or can be resumed."""

    id: str
    kind: str
    config: Mapping[str, Any]
    started_at: datetime
    finished_at: datetime | None
    verdict: str | None
    summary: Mapping[str, Any] | None
    pruned_at: datetime | None = Field(description="When its events were dropped, if they were.")


class RunPage(Said):
    """Runs, newest first."""

    items: list[Run]
    next: str | None = Field(description="`after` for the next page; null at the end.")


class Event(Said):
    """One step of a run."""

    sequence: int
    kind: str
    payload: Mapping[str, Any]
    at: datetime


class EventPage(Said):
    """Events of a run, in order."""

    items: list[Event]
    next: int | None = NEXT_NUMBER
