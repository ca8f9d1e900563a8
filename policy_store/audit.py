"""The audit log: who decided what and why, each entry chained to the one before by its hash.

An entry's hash is SHA-256 over the canonical JSON of all its other fields, the previous hash
among them. The database's triggers stop changes through ordinary connections; the chain shows
those made around them. `audit_head` holds the last sequence and hash, so that removed last entries
show too; against someone who rewrites the whole file, compare `head` with a copy kept elsewhere.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from policy_store.engine import Database
from policy_store.errors import DamagedStore
from policy_store.intake import plain_name
from policy_store.records import AuditEntry, AuditVerdict
from policy_store.tables import AuditHeadRow, AuditRow
from sandbox.identity import canonical_json

FIRST_HASH = "0" * 64
HASHED = (
    "sequence", "at", "actor", "action", "subject", "deployment", "note", "details",
    "previous_hash",
)  # fmt: skip
PAGE = 5000
LIVE_ACTIONS = (
    "activated", "renewed", "rolled_back", "placed", "withdrawn", "ejected", "rejected", "remarked",
)  # fmt: skip
SUBJECTS_AT_ONCE = 500  # databases bound the parameters of one query


def entry_hash(
    sequence: int,
    at: str,
    actor: str,
    action: str,
    subject: str | None,
    deployment: str | None,
    note: str,
    details: str,
    previous_hash: str,
) -> str:
    """The hash of one entry, over its fields as they are stored.

    Raises:
        TypeError: a field is no text.
    """
    # The canonical JSON of the fields, spelt out: a log is a million of these.
    text = (
        f'{{"action":{quoted(action)},"actor":{quoted(actor)},"at":{quoted(at)},'
        f'"deployment":{"null" if deployment is None else quoted(deployment)},'
        f'"details":{quoted(details)},"note":{quoted(note)},'
        f'"previous_hash":{quoted(previous_hash)},"sequence":{sequence},'
        f'"subject":{"null" if subject is None else quoted(subject)}}}'
    )
    return sha256(text.encode("ascii")).hexdigest()


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
    entry = AuditRow(
        sequence=head.sequence + 1,
        at=moment_text(at),
        actor=plain_name(actor),
        action=action,
        subject=subject,
        deployment=deployment,
        note=note,
        details=canonical_json(dict(details or {})),
        previous_hash=head.hash,
        hash="",
    )
    entry.hash = entry_hash(*(getattr(entry, name) for name in HASHED))
    session.add(entry)
    head.sequence, head.hash = entry.sequence, entry.hash


def moment_text(at: datetime) -> str:
    """A time as entries spell it; of times in UTC, the later one sorts after the earlier."""
    return at.isoformat(timespec="microseconds")


class AuditLog:
    """Reading and checking the log; entries are added only by decisions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def entries(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 100,
        subject: str | None = None,
        actor: str | None = None,
        action: str | None = None,
        newest_first: bool = False,
    ) -> tuple[AuditEntry, ...]:
        """Entries with a sequence above `after` and below `before`, oldest or newest first.

        Only those about `subject` (a full digest), by `actor`, of one `action`, where given.
        """
        query = select(AuditRow).where(AuditRow.sequence > after)
        if before is not None:
            query = query.where(AuditRow.sequence < before)
        wanted = {"subject": subject, "actor": actor, "action": action}
        query = query.filter_by(**{name: one for name, one in wanted.items() if one is not None})
        order = AuditRow.sequence.desc() if newest_first else AuditRow.sequence
        with self._database.reading() as session:
            return tuple(_entry(row) for row in session.scalars(query.order_by(order).limit(limit)))

    def head(self) -> tuple[int, str]:
        """Number and hash of the last entry: kept elsewhere, it proves the log up to here."""
        with self._database.reading() as session:
            row = session.get_one(AuditHeadRow, 1)
            return row.sequence, row.hash

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

    def about_deployment(self, deployment: str, limit: int = 50) -> tuple[AuditEntry, ...]:
        """What was decided about what a deployment runs, newest first.

        What took a policy out of every deployment is told where this one ran it.
        """
        there = AuditRow.details.contains(f"{quoted(deployment)}:", autoescape=True)
        found: list[AuditEntry] = []
        with self._database.reading() as session:
            for action in LIVE_ACTIONS:  # one by one: the index has an action's entries in order
                query = select(AuditRow).where(AuditRow.action == action)
                query = query.where((AuditRow.deployment == deployment) | there)
                rows = session.scalars(query.order_by(AuditRow.sequence.desc()).limit(limit))
                found += [one for one in map(_entry, rows) if _touches(one, deployment)]
        return tuple(sorted(found, key=lambda one: one.sequence, reverse=True)[:limit])

    def verify(
        self, heads: Collection[str] = (), progress: Callable[[int], object] = int
    ) -> AuditVerdict:
        """Recompute the whole chain; says which entry is the first that is not as written.

        Args:
            heads: hashes of last entries that were kept elsewhere; each must be in the log.
            progress: told how many entries were checked since it was told last.
        """
        with self._database.reading() as session:
            return verify_chain(session, heads, progress)


def verify_chain(
    session: Session, heads: Collection[str] = (), progress: Callable[[int], object] = int
) -> AuditVerdict:
    """What `AuditLog.verify` says, inside the caller's transaction."""
    sequence, head, wanted = 0, FIRST_HASH, set(heads) - {FIRST_HASH}
    for rows in _pages(session):
        for row in rows:
            complaint = _complaint(row, sequence + 1, head)
            if row is None or complaint:
                return AuditVerdict(sequence, head, sequence + 1, complaint)
            sequence, head = sequence + 1, row[9]
            wanted.discard(head)
        progress(len(rows))
    complaint = _head_complaint(session, sequence, head)
    if complaint:
        return AuditVerdict(sequence, head, sequence + 1, complaint)
    missing = tuple(sorted(wanted))
    reason = f"No entry has the hash {missing[0]}, so the log was rewritten." if missing else ""
    return AuditVerdict(sequence, head, None, reason, missing)


def _touches(entry: AuditEntry, deployment: str) -> bool:
    if entry.deployment == deployment:
        return True
    changed = entry.details.get("sequences") or entry.details.get("elsewhere")
    return isinstance(changed, Mapping) and deployment in changed


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


def _pages(session: Session) -> Iterator[list[Sequence[Any] | None]]:
    """All rows in order; None in place of the first that cannot even be read, and no more."""
    columns = [AuditRow.__table__.c[name] for name in (*HASHED, "hash")]
    everything = select(*columns).order_by(columns[0])
    query, size = everything, PAGE
    while True:
        try:
            rows = session.execute(query.limit(size)).all()
        except SQLAlchemyError:
            if size == 1:
                yield [None]
                return
            size = 1  # one row at a time up to the damaged one
            continue
        yield list(rows)
        if len(rows) < size:
            return
        query = everything.where(columns[0] > rows[-1][0])


def _complaint(row: Sequence[Any] | None, expected: int, previous: str) -> str:
    if row is None:
        return f"Entry {expected} cannot be read."
    if row[0] != expected:
        return f"Entry {expected} is missing: the next one present is {row[0]}."
    if row[8] != previous:
        return f"Entry {expected} does not follow from the entry before it."
    try:
        intact = row[9] == entry_hash(*row[:9])
    except TypeError:
        intact = False
    return "" if intact else f"Entry {expected} was altered after it was written."


def _head_complaint(session: Session, sequence: int, head: str) -> str:
    kept = session.get(AuditHeadRow, 1)
    if kept is None:
        return "The record of the log's length is gone."
    if (kept.sequence, kept.hash) == (sequence, head):
        return ""
    return f"The log ends at entry {sequence}, but its length was recorded as {kept.sequence}."
