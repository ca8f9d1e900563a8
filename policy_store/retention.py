"""Retention: what may go when it is old, what never goes, and how it goes.

May go: events of finished runs, all but those that sum a run up; policies that nobody ever
approved and nothing kept descends from, with sources and documents that nothing else uses;
sessions and links that are over; serving hosts that fell silent. Never goes: the audit log,
activations, whatever was approved once with its evidence and its ancestors, runs themselves, rules.

It goes in many short decisions, each with its audit entry, each looking anew at what may go, so
that others decide in between and nothing goes that was approved meanwhile.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from functools import partial
from graphlib import TopologicalSorter
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    CompoundSelect,
    Select,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
)
from sqlalchemy.orm import Session

from policy_store import audit
from policy_store.engine import Database
from policy_store.errors import InvalidInput
from policy_store.intake import required_note
from policy_store.lifecycle import State
from policy_store.tables import (
    ActivationRow,
    AttachmentRow,
    AuditRow,
    EvidenceRow,
    HostEjectionRow,
    HostRow,
    LinkRow,
    ParentRow,
    RunEventRow,
    RunRow,
    SessionRow,
    SlotRow,
    SourceRow,
    VersionRow,
)

UNAPPROVED = (State.PROPOSED, State.REFUSED, State.VERIFIED, State.EVALUATED, State.REJECTED)
VERSIONS_AT_ONCE = 100
EVENTS_AT_ONCE = 2000
ROWS_AT_ONCE = 500


Step = Callable[[Session], tuple["Pruned", Mapping[str, object]]]


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows of each kind go, or went."""

    versions: int = 0
    sources: int = 0
    evidence: int = 0
    runs: int = 0
    run_events: int = 0
    sessions: int = 0
    links: int = 0
    hosts: int = 0

    def __add__(self, other: "Pruned") -> "Pruned":
        names = [each.name for each in fields(self)]
        return Pruned(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def __bool__(self) -> bool:
        return any(asdict(self).values())


class Retention:
    """Looking at what may go, and letting it go."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def plan(self, days: int, kept_kinds: Collection[str] = ()) -> Pruned:
        """What `prune` would remove now; nothing is changed.

        Raises:
            InvalidInput: not a day or more.
        """
        before = self._before(days)
        gone = _unneeded(before)
        # Joins, not NOT IN: PostgreSQL would look through the whole list for each row.
        is_gone, of_gone = (
            gone.c.digest == digest for digest in (VersionRow.digest, AttachmentRow.version_digest)
        )
        sources, documents = select(VersionRow.source_digest), select(AttachmentRow.evidence_digest)
        wanted: dict[str, Select[Any] | CompoundSelect[Any]] = {
            "versions": select(gone.c.digest),
            "sources": sources.join(gone, is_gone).except_(sources.where(~exists().where(is_gone))),
            "evidence": documents.join(gone, of_gone).except_(
                documents.where(~exists().where(of_gone))
            ),
            "runs": select(RunRow.id).where(_old_run(before)),
            "run_events": select(RunEventRow.sequence)
            .join(RunRow, RunRow.id == RunEventRow.run_id)
            .where(_old_run(before), RunEventRow.kind.not_in(kept_kinds)),
            "sessions": select(SessionRow.digest).where(self._ended()),
            "links": select(LinkRow.digest).where(self._done()),
            "hosts": select(HostRow.host).where(HostRow.seen_at < before),
        }
        with self._database.reading() as session:
            return Pruned(**{name: _count(session, query) for name, query in wanted.items()})

    def prune(
        self,
        days: int,
        by: str,
        note: str,
        kept_kinds: Collection[str] = (),
        progress: Callable[[int], object] = int,
    ) -> Pruned:
        """Remove what is older than this and may go; returns what went.

        Args:
            kept_kinds: of run events, those that sum a run up.
            progress: told how many more rows went.

        Raises:
            InvalidInput: not a day or more, or no note.
        """
        before, total = self._before(days), Pruned()
        note = required_note(note)

        def once(step: Step) -> Pruned:
            with self._database.deciding() as session:
                gone, which = step(session)
                if gone:
                    numbers = {name: count for name, count in asdict(gone).items() if count}
                    details = {"older_than_days": days, **numbers, **which}
                    now = self._database.clock()
                    audit.append(
                        session, at=now, actor=by, action="pruned", note=note, details=details
                    )
            progress(sum(asdict(gone).values()))
            return gone

        digests = self._unneeded_digests(before)
        for first in range(0, len(digests), VERSIONS_AT_ONCE):
            some = digests[first : first + VERSIONS_AT_ONCE]
            total += once(partial(_prune_versions, digests=some, before=before))
        while gone := once(partial(self._prune_run, before=before, kept_kinds=kept_kinds)):
            total += gone
        while gone := once(partial(self._prune_rest, before=before)):
            total += gone
        return total

    def _unneeded_digests(self, before: datetime) -> Sequence[str]:
        """Children before their parents, so that each is nobody's parent when its turn comes."""
        gone = _unneeded(before)
        edges = select(ParentRow.parent, ParentRow.child)
        with self._database.reading() as session:
            children = {digest: set[str]() for digest in session.scalars(select(gone.c.digest))}
            for parent, child in session.execute(
                edges.join(gone, gone.c.digest == ParentRow.parent)
            ):
                children[parent].add(child)
        return tuple(TopologicalSorter(children).static_order())

    def _before(self, days: int) -> datetime:
        if days < 1:
            raise InvalidInput(f"What is {days} days old is not old: give one day or more.")
        return self._database.clock() - timedelta(days=days)

    def _ended(self) -> ColumnElement[bool]:
        return SessionRow.expires_at < self._database.clock()

    def _done(self) -> ColumnElement[bool]:
        return or_(LinkRow.expires_at < self._database.clock(), LinkRow.used_at.is_not(None))

    def _prune_run(
        self, session: Session, before: datetime, kept_kinds: Collection[str]
    ) -> tuple[Pruned, Mapping[str, object]]:
        """A part of the oldest run's events; with the last of them it is marked."""
        oldest = select(RunRow).where(_old_run(before)).order_by(RunRow.finished_at).limit(1)
        run = session.scalars(oldest).first()
        if run is None:
            return Pruned(), {}
        of_run = and_(RunEventRow.run_id == run.id, RunEventRow.kind.not_in(kept_kinds))
        some = select(RunEventRow.sequence).where(of_run).order_by(RunEventRow.sequence)
        sequences = session.scalars(some.limit(EVENTS_AT_ONCE)).all()
        if sequences:
            upto = and_(of_run, RunEventRow.sequence <= sequences[-1])
            session.execute(delete(RunEventRow).where(upto))
        done = len(sequences) < EVENTS_AT_ONCE
        if done:
            run.pruned_at = self._database.clock()
        return Pruned(runs=int(done), run_events=len(sequences)), {"run": run.id}

    def _prune_rest(
        self, session: Session, before: datetime
    ) -> tuple[Pruned, Mapping[str, object]]:
        old = select(HostRow.deployment, HostRow.host).where(HostRow.seen_at < before)
        hosts = session.execute(old.limit(ROWS_AT_ONCE)).all()
        for deployment, host in hosts:
            for table in (HostEjectionRow, HostRow):
                this = and_(table.deployment == deployment, table.host == host)
                session.execute(delete(table).where(this))
        names = [f"{deployment}/{host}" for deployment, host in hosts]
        gone = Pruned(
            sessions=_delete_some(session, SessionRow, self._ended()),
            links=_delete_some(session, LinkRow, self._done()),
            hosts=len(hosts),
        )
        return gone, {"names": names} if names else {}


def _old_run(before: datetime) -> ColumnElement[bool]:
    return and_(RunRow.finished_at < before, RunRow.pruned_at.is_(None))


def _old_and_unapproved(before: datetime) -> ColumnElement[bool]:
    """Versions about which nothing was written since, and which never went live."""
    said = and_(
        AuditRow.subject == VersionRow.digest,
        or_(AuditRow.action == "approved", AuditRow.at >= audit.moment_text(before)),
    )
    live = or_(
        exists().where(ActivationRow.version_digest == VersionRow.digest),
        exists().where(ActivationRow.good_digest == VersionRow.digest),
        exists().where(SlotRow.version_digest == VersionRow.digest),
    )
    old = and_(VersionRow.state.in_(UNAPPROVED), VersionRow.created_at < before)
    return and_(old, ~exists().where(said), ~live)


def _unneeded(before: datetime) -> CTE:
    """Digests of the versions that may go: those of them that nothing kept descends from."""
    needed = select(VersionRow.digest).where(~_old_and_unapproved(before))
    kept = needed.cte("kept", recursive=True)
    kept = kept.union(select(ParentRow.parent).join(kept, ParentRow.child == kept.c.digest))
    without = ~exists().where(kept.c.digest == VersionRow.digest)
    return select(VersionRow.digest).where(without).cte("gone")


def _prune_versions(
    session: Session, digests: Sequence[str], before: datetime
) -> tuple[Pruned, Mapping[str, object]]:
    """Those of some versions, children first, that still may go, and what only they used."""
    still = select(VersionRow.digest).where(
        VersionRow.digest.in_(digests), _old_and_unapproved(before)
    )
    unneeded, children = set(session.scalars(still)), defaultdict[str, set[str]](set)
    edges = select(ParentRow.parent, ParentRow.child).where(ParentRow.parent.in_(digests))
    for parent, child in session.execute(edges):
        children[parent].add(child)
    going: list[str] = []
    for digest in digests:
        if digest in unneeded and children[digest] <= set(going):
            going.append(digest)
    return _delete_versions(session, going), {"digests": going}


def _delete_versions(session: Session, digests: Sequence[str]) -> Pruned:
    these = AttachmentRow.version_digest.in_(digests)
    documents = set(session.scalars(select(AttachmentRow.evidence_digest).where(these)))
    of_versions = select(VersionRow.source_digest).where(VersionRow.digest.in_(digests))
    sources = set(session.scalars(of_versions))
    for gone in (
        delete(ParentRow).where(ParentRow.child.in_(digests)),
        delete(AttachmentRow).where(these),
        delete(VersionRow).where(VersionRow.digest.in_(digests)),
    ):
        session.execute(gone, execution_options={"synchronize_session": False})
    used = exists().where(VersionRow.source_digest == SourceRow.digest)
    attached = exists().where(AttachmentRow.evidence_digest == EvidenceRow.digest)
    return Pruned(
        versions=len(digests),
        sources=_delete(session, SourceRow, sorted(sources), ~used),
        evidence=_delete(session, EvidenceRow, sorted(documents), ~attached),
    )


def _delete(
    session: Session,
    table: type[SourceRow | EvidenceRow | SessionRow | LinkRow],
    digests: Sequence[str],
    unused: ColumnElement[bool],
) -> int:
    query = select(table.digest).where(table.digest.in_(digests), unused)
    gone = session.scalars(query).all()
    these = delete(table).where(table.digest.in_(gone))
    session.execute(these, execution_options={"synchronize_session": False})
    return len(gone)


def _delete_some(
    session: Session, table: type[SessionRow | LinkRow], over: ColumnElement[bool]
) -> int:
    some = session.scalars(select(table.digest).where(over).limit(ROWS_AT_ONCE)).all()
    return _delete(session, table, some, over)


def _count(session: Session, query: Select[Any] | CompoundSelect[Any]) -> int:
    return session.scalar(select(func.count()).select_from(query.subquery())) or 0
