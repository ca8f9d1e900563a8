"""The audit log: who decided what and why, each entry chained to the one before by its hash.

An entry's hash is SHA-256 over the canonical JSON of all its other fields, the previous hash
among them. The database's triggers stop changes through ordinary connections; the chain shows
those made around them. `audit_head` holds the last sequence and hash, so that removed last entries
show too; against someone who rewrites the whole file, compare `head` with a copy kept elsewhere.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime

from sqlalchemy import RowMapping, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from policy_store.engine import Database
from policy_store.errors import DamagedStore
from policy_store.intake import plain_name
from policy_store.records import AuditEntry, AuditVerdict
from policy_store.tables import AuditHeadRow, AuditRow
from sandbox.identity import canonical_json, text_digest

FIRST_HASH = "0" * 64
HASHED = (
    "sequence", "at", "actor", "action", "subject", "deployment", "note", "details",
    "previous_hash",
)  # fmt: skip
PAGE = 1000
SUBJECTS_AT_ONCE = 500  # databases bound the parameters of one query


def entry_hash(fields: Mapping[str, object]) -> str:
    """The hash of one entry, over its fields as they are stored."""
    return text_digest(canonical_json({name: fields[name] for name in HASHED}))


def append(
    session: Session,
    *,
    at: datetime,
    actor: str,
    action: str,
    subject: str | None = None,
    deployment: str | None = None,
    note: str = "",
    details: Mapping[str, object] | None = None,
) -> None:
    """Add one entry inside the caller's decision.

    Raises:
        InvalidInput: the actor is no name.
    """
    head = session.get_one(AuditHeadRow, 1)
    fields: dict[str, object] = {
        "sequence": head.sequence + 1,
        "at": at.isoformat(timespec="microseconds"),
        "actor": plain_name(actor),
        "action": action,
        "subject": subject,
        "deployment": deployment,
        "note": note,
        "details": canonical_json(dict(details or {})),
        "previous_hash": head.hash,
    }
    digest = entry_hash(fields)
    session.add(AuditRow(**fields, hash=digest))  # type: ignore[arg-type]  # values match the columns
    head.sequence += 1
    head.hash = digest


class AuditLog:
    """Reading and checking the log; entries are added only by decisions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def entries(
        self, *, after: int = 0, limit: int = 100, subject: str | None = None
    ) -> tuple[AuditEntry, ...]:
        """Entries with a sequence above `after`, oldest first; `subject` is a full digest."""
        query = select(AuditRow).where(AuditRow.sequence > after)
        if subject is not None:
            query = query.where(AuditRow.subject == subject)
        with self._database.reading() as session:
            rows = session.scalars(query.order_by(AuditRow.sequence).limit(limit))
            return tuple(_entry(row) for row in rows)

    def latest(self, subjects: Collection[str], actions: Collection[str]) -> dict[str, AuditEntry]:
        """The latest entry with one of these actions about each of some full digests."""
        wanted, found = sorted(set(subjects)), dict[str, AuditEntry]()
        with self._database.reading() as session:
            for first in range(0, len(wanted), SUBJECTS_AT_ONCE):
                some = wanted[first : first + SUBJECTS_AT_ONCE]
                about = AuditRow.subject.in_(some) & AuditRow.action.in_(sorted(actions))
                last = select(func.max(AuditRow.sequence)).where(about).group_by(AuditRow.subject)
                rows = session.scalars(select(AuditRow).where(AuditRow.sequence.in_(last)))
                found |= {row.subject: _entry(row) for row in rows if row.subject is not None}
        return found

    def verify(self) -> AuditVerdict:
        """Recompute the whole chain; says which entry is the first that is not as written."""
        with self._database.reading() as session:
            sequence, head = 0, FIRST_HASH
            for row in _pages(session):
                sequence += 1
                complaint = _complaint(row, sequence, head)
                if row is None or complaint:
                    return AuditVerdict(sequence - 1, head, sequence, complaint)
                head = row["hash"]
            complaint = _head_complaint(session, sequence, head)
            first_bad = sequence + 1 if complaint else None
            return AuditVerdict(sequence, head, first_bad, complaint)


def _entry(row: AuditRow) -> AuditEntry:
    try:
        at, details = datetime.fromisoformat(row.at), json.loads(row.details)
    except (TypeError, ValueError) as error:
        raise DamagedStore(
            f"Audit entry {row.sequence} cannot be read: check the whole log and restore a backup."
        ) from error
    return AuditEntry(
        sequence=row.sequence,
        at=at,
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        deployment=row.deployment,
        note=row.note,
        details=details,
        previous_hash=row.previous_hash,
        hash=row.hash,
    )


def _pages(session: Session) -> Iterator[RowMapping | None]:
    """All rows in order; None in place of the first that cannot even be read, and no more."""
    columns = [AuditRow.__table__.c[name] for name in (*HASHED, "hash")]
    everything = select(*columns).order_by(columns[0])
    query, size = everything, PAGE
    while True:
        try:
            rows = session.execute(query.limit(size)).mappings().all()
        except SQLAlchemyError:
            if size == 1:
                yield None
                return
            size = 1  # one row at a time up to the damaged one
            continue
        yield from rows
        if len(rows) < size:
            return
        query = everything.where(columns[0] > rows[-1]["sequence"])


def _complaint(row: RowMapping | None, expected: int, previous: str) -> str:
    if row is None:
        return f"Entry {expected} cannot be read."
    if row["sequence"] != expected:
        return f"Entry {expected} is missing: the next one present is {row['sequence']}."
    if row["previous_hash"] != previous:
        return f"Entry {expected} does not follow from the entry before it."
    try:
        intact = row["hash"] == entry_hash({name: row[name] for name in HASHED})
    except (TypeError, ValueError):
        intact = False
    return "" if intact else f"Entry {expected} was altered after it was written."


def _head_complaint(session: Session, sequence: int, head: str) -> str:
    kept = session.get(AuditHeadRow, 1)
    if kept is None:
        return "The record of the log's length is gone."
    if (kept.sequence, kept.hash) == (sequence, head):
        return ""
    return f"The log ends at entry {sequence}, but its length was recorded as {kept.sequence}."
