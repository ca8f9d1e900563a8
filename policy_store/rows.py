"""From rows to records: finding a version by its digits, and checking digests on every read."""

import json
import re
from collections.abc import Sequence
from types import MappingProxyType

from sqlalchemy import select
from sqlalchemy.orm import Session

from policy_store.errors import AmbiguousPolicy, DamagedStore, StaleDecision, UnknownPolicy
from policy_store.lifecycle import State, check_move
from policy_store.records import EvidenceRecord, Kind, PolicySource, PolicyVersion
from policy_store.tables import AttachmentRow, EvidenceRow, ParentRow, SourceRow, VersionRow
from sandbox.identity import identity_digest, source_digest, text_digest

PREFIX = re.compile(r"[0-9a-f]{6,64}")


def find_version(session: Session, policy: str) -> VersionRow:
    """The version whose digest starts with `policy` (six hex digits or more)."""
    prefix = policy.strip().lower()
    if not PREFIX.fullmatch(prefix):
        raise UnknownPolicy(
            f"{policy!r} is no policy digest: give six or more of its first hex digits, as "
            "`evolver policy list` prints them."
        )
    # "g" sorts after every hex digit, so this range is the prefix, and it uses the index.
    inside = VersionRow.digest.between(prefix, prefix + "g")
    found = session.scalars(select(VersionRow).where(inside).limit(2)).all()
    if not found:
        raise UnknownPolicy(
            f"No policy has a digest that starts with {prefix}: `evolver policy list` shows all."
        )
    if len(found) > 1:
        raise AmbiguousPolicy(
            f"Several policies start with {prefix}, among them {found[0].digest} and "
            f"{found[1].digest}: give more digits."
        )
    return found[0]


def move(session: Session, row: VersionRow, state: State) -> VersionRow:
    """Change a version's state along the lifecycle."""
    check_move(row.state, state)
    row.state = state
    session.flush()
    return row


def version_record(session: Session, row: VersionRow) -> PolicyVersion:
    """One row as a record, its identity recomputed."""
    return version_records(session, [row])[0]


def version_records(session: Session, rows: Sequence[VersionRow]) -> tuple[PolicyVersion, ...]:
    """Rows as records, every identity recomputed.

    Raises:
        DamagedStore: one no longer matches its digest.
    """
    children = [row.digest for row in rows]
    query = select(ParentRow).where(ParentRow.child.in_(children)).order_by(ParentRow.position)
    parents: dict[str, tuple[str, ...]] = {}
    for edge in session.scalars(query):
        parents[edge.child] = (*parents.get(edge.child, ()), edge.parent)
    return tuple(_version_record(row, parents.get(row.digest, ())) for row in rows)


def _version_record(row: VersionRow, parents: tuple[str, ...]) -> PolicyVersion:
    try:
        parameters = json.loads(row.parameters)
        digest = identity_digest(row.source_digest, parameters, row.contract_version)
    except (AttributeError, TypeError, ValueError):
        digest = ""
    _check_digest("Policy", row.digest, digest)
    return PolicyVersion(
        digest=row.digest,
        name=row.name,
        state=row.state,
        origin=row.origin,
        author=row.author,
        contract_version=row.contract_version,
        source_digest=row.source_digest,
        parameters=MappingProxyType(parameters),
        parents=parents,
        run=row.run_id,
        created_at=row.created_at,
    )


def source_record(session: Session, digest: str) -> PolicySource:
    """A source as a record, its digest recomputed."""
    row = session.get_one(SourceRow, digest)
    _check_digest("Source", digest, source_digest(row.text))
    return PolicySource(digest=digest, text=row.text, claim=row.claim)


def documents_of(session: Session, version: str) -> tuple[EvidenceRecord, ...]:
    """A version's documents, oldest first, digests recomputed."""
    query = (
        select(EvidenceRow, AttachmentRow.attached_at, AttachmentRow.kind)
        .join(AttachmentRow, AttachmentRow.evidence_digest == EvidenceRow.digest)
        .where(AttachmentRow.version_digest == version)
        .order_by(AttachmentRow.attached_at, AttachmentRow.evidence_digest)
    )
    records = []
    for row, attached_at, kind in session.execute(query):
        _check_digest("Evidence", row.digest, text_digest(row.document))
        records.append(EvidenceRecord(row.digest, json.loads(row.document), attached_at, kind))
    return tuple(records)


def evidence_digests(session: Session, version: str) -> list[str]:
    """The digests of a version's evidence, oldest first."""
    query = select(AttachmentRow.evidence_digest).where(
        AttachmentRow.version_digest == version, AttachmentRow.kind == Kind.EVIDENCE
    )
    order = AttachmentRow.attached_at, AttachmentRow.evidence_digest
    return list(session.scalars(query.order_by(*order)))


def check_evidence(session: Session, row: VersionRow, expected: Sequence[str] | None) -> list[str]:
    """The digests of a version's evidence, when they are those that a decision was made on.

    Raises:
        StaleDecision: there is other evidence by now; `expected` None asks for none in particular.
    """
    known = evidence_digests(session, row.digest)
    if expected is not None and list(expected) != known:
        raise StaleDecision(
            f"Policy {row.digest[:12]} has other evidence than the decision was made on "
            f"({len(known)} documents now): look at it again, then decide."
        )
    return known


def check_state(row: VersionRow, expected: State | None) -> None:
    """Pass when the policy has the state that a decision was made on; None asks for none.

    Raises:
        StaleDecision: it has another by now.
    """
    if expected not in (None, row.state):
        raise StaleDecision(
            f"Policy {row.digest[:12]} was {expected} and is {row.state.value} now: look at it "
            "again, then decide."
        )


def _check_digest(kind: str, filed: str, computed: str) -> None:
    if filed != computed:
        raise DamagedStore(
            f"{kind} {filed[:12]} no longer matches its digest, so it was changed outside the "
            "store: restore a backup, or propose the policy again in a fresh store."
        )
