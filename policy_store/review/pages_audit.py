"""The audit log: who did what, when and why; checking its chain, and taking it along."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from policy_store.errors import InvalidInput, StoreError
from policy_store.records import AuditEntry
from policy_store.review.access import Viewer
from policy_store.review.log_check import checked
from policy_store.review.paging import page_of
from policy_store.review.rendering import other_page, page
from policy_store.review.site import Here
from policy_store.store import PolicyStore

router = APIRouter(include_in_schema=False)

SHOWN, READ_AT_ONCE = 50, 1000
LAST = (1 << 31) - 1  # more entries than the column counts
ACTIONS = (
    "proposed", "verified", "refused", "evidence_attached", "approved", "rejected", "placed",
    "withdrawn", "activated", "renewed", "rolled_back", "ejected", "host_ejected", "remarked",
    "sealed_opened", "close_up_attached", "last_hour_attached", "rule_installed", "rule_removed",
    "account_made", "role_changed", "account_disabled", "account_enabled", "identity_tied",
    "link_made", "password_set", "password_changed", "signed_in", "sessions_ended", "token_made",
    "token_revoked", "pruned", "restored", "downgraded", "daemon_leads", "daemon_waits",
    "daemon_evolves", "daemon_evolved", "daemon_asked", "daemon_trial", "daemon_learned",
    "daemon_saw",
)  # fmt: skip
DIGEST = re.compile("[0-9a-f]{64}")
PREFIX = re.compile("[0-9a-f]{6,64}")

Words = Annotated[str, Query(max_length=80)]


@router.get("/audit")
def audit(
    request: Request,
    site: Here,
    visitor: Viewer,
    actor: Words = "",
    action: Words = "",
    subject: Words = "",
    before: Annotated[int | None, Query(ge=1, le=LAST)] = None,
) -> Response:
    """Entries, newest first; of one person, one action, about one thing."""
    asked = {"actor": actor.strip(), "action": action.strip(), "subject": subject.strip()}
    if not all(word.isprintable() for word in asked.values()):
        raise InvalidInput("Names, actions and subjects have only printable characters.")
    entries = site.store.audit.entries(
        before=before, limit=SHOWN + 1, newest_first=True,
        actor=asked["actor"] or None, action=asked["action"] or None,
        subject=_about(site.store, asked["subject"]) or None,
    )  # fmt: skip
    shown, last = page_of(entries, SHOWN)
    more = other_page(request, before=str(last.sequence)) if last else ""
    return page(
        request, "audit.html", visitor,
        entries=shown, names=_names(site.store, shown), details=_details, asked=asked,
        actions=ACTIONS, before=before, more=more, newest=other_page(request, before=""),
        evidence=_evidence, head=site.store.audit.head(),
    )  # fmt: skip


@router.get("/audit/verify")
def verify(
    request: Request, site: Here, visitor: Viewer, head: Annotated[str, Query(max_length=80)] = ""
) -> Response:
    """Check the whole chain, and whether a hash that was kept elsewhere is in it."""
    kept = head.strip().lower()
    if kept and not DIGEST.fullmatch(kept):
        raise InvalidInput("A hash has 64 hex digits: copy the whole of it.")
    verdict = checked(site.store, (kept,) if kept else ())
    return page(
        request, "audit_verify.html", visitor,
        verdict=verdict, head=kept, checked_at=datetime.now(UTC),
    )  # fmt: skip


@router.get("/audit/export")
def export(site: Here, visitor: Viewer) -> Response:
    """All of it as one JSON document, as long as it is when asked."""
    del visitor
    last, head = site.store.audit.head()
    name = f'attachment; filename="audit-{last}.json"'
    return StreamingResponse(
        _document(site.store, last, head), media_type="application/json",
        headers={"Content-Disposition": name},
    )  # fmt: skip


@router.get("/audit/{sequence}")
def entry(request: Request, site: Here, visitor: Viewer, sequence: int) -> Response:
    """One entry with its place in the chain."""
    found = site.store.audit.entries(after=sequence - 1, limit=1) if 0 < sequence <= LAST else ()
    if not found or found[0].sequence != sequence:
        raise HTTPException(404, f"The audit log has no entry {sequence}.")
    return page(
        request, "audit_entry.html", visitor,
        entry=found[0], names=_names(site.store, found), details=_details, evidence=_evidence,
        last=site.store.audit.head()[0],
    )  # fmt: skip


def _about(store: PolicyStore, subject: str) -> str:
    """A subject as entries have it: a policy may be given by its first digits."""
    if PREFIX.fullmatch(subject.lower()):
        try:
            return store.resolve(subject)
        except StoreError:
            return subject  # of something else than a policy
    return subject


def _names(store: PolicyStore, entries: Sequence[AuditEntry]) -> dict[str, str]:
    """Names of the policies that entries speak of, by digest."""
    told = [
        of
        for one in entries
        for of in (one.subject, one.details.get("replaces"), one.details.get("restores"))
    ]
    digests = [of for of in told if isinstance(of, str) and DIGEST.fullmatch(of)]
    return {digest: one.name for digest, one in store.find_policies(digests).items()}


def _details(entry: AuditEntry) -> str:
    return json.dumps(dict(entry.details), indent=2, ensure_ascii=False) if entry.details else ""


def _evidence(entry: AuditEntry) -> list[str]:
    """Digests of the evidence that an entry names."""
    told = entry.details.get("evidence")
    listed = told if isinstance(told, list) else [told]
    return [one for one in listed if isinstance(one, str) and DIGEST.fullmatch(one)]


def _document(store: PolicyStore, last: int, head: str) -> Iterator[str]:
    yield f'{{"schema": 1, "entries": {last}, "head": "{head}", "log": ['
    after = 0
    while after < last:
        entries = store.audit.entries(after=after, before=last + 1, limit=READ_AT_ONCE)
        if not entries:
            break
        texts = (json.dumps({**asdict(one), "at": one.at.isoformat()}) for one in entries)
        yield ("," if after else "") + ",\n".join(texts)
        after = entries[-1].sequence
    yield "]}\n"
