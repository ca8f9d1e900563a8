"""What has been proposed and what is known about it: sources, versions, lineage, evidence."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from policy_store import audit
from policy_store.engine import Database
from policy_store.errors import InvalidInput
from policy_store.intake import check_source, json_text, plain_name, plain_parameters
from policy_store.lifecycle import State
from policy_store.records import (
    AuditEntry,
    EvidenceRecord,
    Kind,
    Origin,
    PolicyDetails,
    PolicySource,
    PolicyVersion,
)
from policy_store.rows import (
    PREFIX,
    documents_of,
    find_version,
    move,
    source_record,
    version_record,
    version_records,
)
from policy_store.tables import (
    AttachmentRow,
    EvidenceRow,
    ParentRow,
    RunRow,
    SourceRow,
    VersionRow,
)
from sandbox.identity import canonical_json, identity_digest, source_digest, text_digest

DIGESTS_AT_ONCE = 500  # databases bound the parameters of one query


class Catalog:
    """Proposing, verifying and measuring policies, and looking them up."""

    _database: Database

    def propose(
        self,
        source: str,
        *,
        name: str,
        origin: Origin,
        author: str,
        contract_version: int,
        parameters: Mapping[str, float] | None = None,
        claim: str = "",
        parents: Sequence[str] = (),
        run: str | None = None,
    ) -> PolicyVersion:
        """File a policy under its identity; proposed again, the version already there is returned.

        Args:
            source: canonical source text, as the verifier will see it.
            claim: what its docstring says it does; kept apart, because it proves nothing.
            parents: digests or prefixes of the versions it was made from.
            run: id of the evolution run that made it.

        Raises:
            InvalidInput: a field cannot be kept.
            UnknownPolicy: a parent is not in the store.
        """
        check_source(source, claim)
        values = plain_parameters(parameters or {})
        digest = identity_digest(source_digest(source), values, contract_version)
        with self._database.deciding() as session:
            known = session.get(VersionRow, digest)
            if known is not None:
                return version_record(session, known)
            if run is not None and session.get(RunRow, run) is None:
                raise InvalidInput(f"There is no run {run}: start it before it proposes policies.")
            ancestors = [find_version(session, parent).digest for parent in parents]
            now = self._database.clock()
            row = VersionRow(
                digest=digest,
                source_digest=_file_source(session, source, claim, now),
                contract_version=contract_version,
                parameters=canonical_json(values),
                name=plain_name(name),
                origin=Origin(origin),
                author=plain_name(author),
                state=State.PROPOSED,
                run_id=run,
                created_at=now,
            )
            session.add(row)
            session.flush()
            for position, parent in enumerate(dict.fromkeys(ancestors)):
                session.add(ParentRow(child=digest, position=position, parent=parent))
            details = {"name": row.name, "origin": row.origin.value, "run": run}
            audit.append(
                session, at=now, actor=author, action="proposed", subject=digest, details=details
            )
            return version_record(session, row)

    def record_verified(self, policy: str, by: str) -> PolicyVersion:
        """The verifier accepted it.

        Raises:
            UnknownPolicy, ForbiddenMove: no such policy, or not one that waits for this.
        """
        with self._database.deciding() as session:
            row = move(session, find_version(session, policy), State.VERIFIED)
            self._note(session, row, by, "verified")
            return version_record(session, row)

    def record_refused(self, policy: str, reasons: Sequence[str], by: str) -> PolicyVersion:
        """The verifier or a gate refused it, for these reasons.

        Raises:
            UnknownPolicy, ForbiddenMove: no such policy, or not one that waits for this.
        """
        with self._database.deciding() as session:
            row = move(session, find_version(session, policy), State.REFUSED)
            self._note(session, row, by, "refused", {"reasons": list(reasons)})
            return version_record(session, row)

    def attach_evidence(
        self,
        policy: str,
        document: Mapping[str, object],
        by: str,
        kind: Kind = Kind.EVIDENCE,
    ) -> EvidenceRecord:
        """File measurements; evidence makes a verified policy evaluated, other kinds only help.

        Raises:
            InvalidInput: the document holds NaN, infinity or something that is not JSON.
            ForbiddenMove: the policy has not been verified.
        """
        text = json_text(document)
        digest = text_digest(text)
        with self._database.deciding() as session:
            row = find_version(session, policy)
            waits = row.state in (State.PROPOSED, State.REFUSED, State.VERIFIED)
            if kind is Kind.EVIDENCE and waits:
                move(session, row, State.EVALUATED)
            now = _after_all(session, row, self._database.clock())
            if session.get(EvidenceRow, digest) is None:
                session.add(EvidenceRow(digest=digest, document=text, created_at=now))
                session.flush()
            attached = session.get(AttachmentRow, (row.digest, digest))
            if attached is None:
                attached = AttachmentRow(
                    version_digest=row.digest, evidence_digest=digest, attached_at=now, kind=kind
                )
                session.add(attached)
                self._note(session, row, by, f"{kind.value}_attached", {"evidence": digest})
            return EvidenceRecord(digest, json.loads(text), attached.attached_at, attached.kind)

    def resolve(self, policy: str) -> str:
        """The full digest of a policy given by at least six of its first hex digits.

        Raises:
            UnknownPolicy, AmbiguousPolicy: none has it, or several do.
        """
        with self._database.reading() as session:
            return find_version(session, policy).digest

    def list_policies(
        self,
        *,
        state: State | None = None,
        run: str | None = None,
        origin: Origin | None = None,
        author: str | None = None,
        words: str = "",
        after: str | None = None,
        limit: int = 100,
    ) -> tuple[PolicyVersion, ...]:
        """Versions, newest first; `after` is the last one of the page before, by its digest.

        `words` is part of a name in any case, or the first six digits of a digest or more.

        Raises:
            UnknownPolicy: there is no such policy to go on after.
        """
        query = select(VersionRow).order_by(VersionRow.created_at.desc(), VersionRow.digest)
        wanted = {"state": state, "run_id": run, "origin": origin, "author": author}
        query = query.filter_by(**{name: one for name, one in wanted.items() if one is not None})
        if words:
            query = query.where(_named_like(words))
        with self._database.reading() as session:
            if after is not None:
                last = find_version(session, after)
                # The bound on the time stands alone, since that is what the index can use.
                query = query.where(VersionRow.created_at <= last.created_at).where(
                    (VersionRow.created_at < last.created_at) | (VersionRow.digest > last.digest)
                )
            rows = session.scalars(query.limit(limit)).all()
            return version_records(session, rows)

    def count_by_state(self) -> dict[State, int]:
        """How many versions are in each state; states that none is in are left out."""
        query = select(VersionRow.state, func.count()).group_by(VersionRow.state)
        with self._database.reading() as session:
            return {row[0]: row[1] for row in session.execute(query)}

    def waiting(self) -> int:
        """How many policies wait for a decision."""
        query = select(func.count()).where(VersionRow.state == State.EVALUATED)
        with self._database.reading() as session:
            return session.scalar(query) or 0

    def find_policies(self, digests: Collection[str]) -> dict[str, PolicyVersion]:
        """The versions that have these full digests; unknown ones are left out."""
        wanted = sorted(set(digests))
        found: dict[str, PolicyVersion] = {}
        with self._database.reading() as session:
            for first in range(0, len(wanted), DIGESTS_AT_ONCE):
                some = wanted[first : first + DIGESTS_AT_ONCE]
                rows = session.scalars(select(VersionRow).where(VersionRow.digest.in_(some))).all()
                found |= {version.digest: version for version in version_records(session, rows)}
        return found

    def show(self, policy: str) -> PolicyDetails:
        """One version with its source and evidence, every digest recomputed.

        Raises:
            UnknownPolicy: no such policy.
            DamagedStore: something no longer matches its digest.
        """
        with self._database.reading() as session:
            row = find_version(session, policy)
            return PolicyDetails(
                version=version_record(session, row),
                source=source_record(session, row.source_digest),
                documents=documents_of(session, row.digest),
            )

    def history(self, policy: str) -> tuple[AuditEntry, ...]:
        """Everything the audit log says about one version, oldest first."""
        return audit.AuditLog(self._database).entries(subject=self.resolve(policy), limit=10_000)

    def sources_to_diff(self, old: str, new: str) -> tuple[PolicySource, PolicySource]:
        """The two canonical sources of a diff, digests checked."""
        with self._database.reading() as session:
            rows = find_version(session, old), find_version(session, new)
            before, after = (source_record(session, row.source_digest) for row in rows)
            return before, after

    def _note(
        self,
        session: Session,
        row: VersionRow,
        by: str,
        action: str,
        details: Mapping[str, object] | None = None,
    ) -> None:
        now = self._database.clock()
        audit.append(session, at=now, actor=by, action=action, subject=row.digest, details=details)


def _after_all(session: Session, row: VersionRow, now: datetime) -> datetime:
    """Now, or a moment after what came before: what came last counts, though a clock went back."""
    query = select(func.max(AttachmentRow.attached_at))
    last = session.scalar(query.where(AttachmentRow.version_digest == row.digest))
    return now if last is None else max(now, last + timedelta(microseconds=1))


def _named_like(words: str) -> ColumnElement[bool]:
    like = func.lower(VersionRow.name).contains(words.lower(), autoescape=True)
    prefix = words.strip().lower()
    if PREFIX.fullmatch(prefix):
        return or_(like, VersionRow.digest.between(prefix, prefix + "g"))
    return like


def _file_source(session: Session, text: str, claim: str, now: datetime) -> str:
    digest = source_digest(text)
    if session.get(SourceRow, digest) is None:
        session.add(SourceRow(digest=digest, text=text, claim=claim, created_at=now))
        session.flush()
    return digest
