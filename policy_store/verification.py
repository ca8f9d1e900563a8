"""Checks that a store is what was written: the log, every digest, what is live, and its guards.

The audit log says who decided what; sources, versions and evidence answer for themselves by their
digests; what a deployment runs must be what its last activation names, and approved. Also that the
triggers are there which refuse changes, and that the snapshot hosts read is of this store.
"""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from policy_store.audit import verify_chain
from policy_store.engine import Database
from policy_store.lifecycle import APPROVED_STATES
from policy_store.records import Alias, AuditVerdict
from policy_store.slots import current_activation, next_sequence
from policy_store.snapshot import Snapshot
from policy_store.tables import (
    ActivationRow,
    AuditRow,
    EvidenceRow,
    SlotRow,
    SourceRow,
    VersionRow,
)
from sandbox.identity import identity_digest, text_digest

Progress = Callable[[str, int], object]
GUARDS = {
    "sqlite": ("no_update", "no_delete", "no_replace"),
    "postgresql": ("no_change", "no_truncate"),
}
TRIGGERS = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
    "postgresql": "SELECT tgname FROM pg_trigger WHERE tgenabled <> 'D'",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was written: what kind, which one, and what is wrong."""

    kind: str
    subject: str
    problem: str


@dataclass(frozen=True, slots=True)
class StoreVerdict:
    """The result of checking a store; `checked` counts what was looked at, by kind."""

    audit: AuditVerdict
    checked: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def check_store(
    database: Database,
    *,
    heads: Collection[str] = (),
    snapshot: Snapshot | None = None,
    progress: Progress = lambda *_: None,
) -> StoreVerdict:
    """Check everything, in one consistent view.

    Args:
        heads: hashes of last audit entries that were kept elsewhere.
        snapshot: what hosts read now; the log must hold the entry that it was written after.
        progress: told a kind and how many more of it were checked.
    """
    with database.reading() as session:
        return check_session(session, heads=heads, snapshot=snapshot, progress=progress)


def check_session(
    session: Session,
    *,
    heads: Collection[str] = (),
    snapshot: Snapshot | None = None,
    progress: Progress = lambda *_: None,
) -> StoreVerdict:
    """What `check_store` says, inside the caller's transaction."""
    wanted = {*heads, *([snapshot.audit_head] if snapshot else [])}
    audit = verify_chain(session, wanted, lambda count: progress("audit", count))
    checked, findings = {"audit": audit.entries}, list(_audit_findings(audit))
    for kind, check in (
        ("source", _sources), ("version", _versions), ("evidence", _evidence)
    ):  # fmt: skip
        checked[kind] = 0
        try:
            for digest, intact in check(session):
                checked[kind] += 1
                progress(kind, 1)
                if not intact:
                    findings.append(Finding(kind, digest, "It does not match its digest."))
        except SQLAlchemyError as error:
            findings.append(Finding(kind, "", f"They cannot be read: {error.__cause__ or error}"))
    findings += [*_dangling(session), *_unguarded(session), *_live(session)]
    findings += _published(session, snapshot) if snapshot else []
    return StoreVerdict(audit, checked, tuple(findings))


def _audit_findings(audit: AuditVerdict) -> Iterator[Finding]:
    if audit.first_bad is not None:
        yield Finding("audit", str(audit.first_bad), audit.reason)
    for head in audit.missing:
        problem = "No entry has this hash, which was kept elsewhere: the log was rewritten."
        yield Finding("audit", head, problem)


def _sources(session: Session) -> Iterator[tuple[str, bool]]:
    query = select(SourceRow.digest, SourceRow.text).execution_options(yield_per=50)
    for digest, content in session.execute(query):
        yield str(digest), _matches(content, digest)


def _evidence(session: Session) -> Iterator[tuple[str, bool]]:
    query = select(EvidenceRow.digest, EvidenceRow.document).execution_options(yield_per=8)
    for digest, content in session.execute(query):
        yield str(digest), _matches(content, digest)


def _matches(content: object, digest: object) -> bool:
    return isinstance(content, str) and text_digest(content) == digest


def _versions(session: Session) -> Iterator[tuple[str, bool]]:
    query = select(
        VersionRow.digest, VersionRow.source_digest, VersionRow.parameters,
        VersionRow.contract_version,
    )  # fmt: skip
    for digest, source, parameters, contract in session.execute(
        query.execution_options(yield_per=500)
    ):
        try:
            found = identity_digest(source, json.loads(parameters), contract)
        except (AttributeError, TypeError, ValueError):
            found = ""
        yield str(digest), found == digest


def _dangling(session: Session) -> Iterator[Finding]:
    """Rows that point to nothing; PostgreSQL has none."""
    if session.get_bind().dialect.name == "sqlite":
        for table, row, target, _ in session.execute(text("PRAGMA foreign_key_check")):
            yield Finding(str(table), f"row {row}", f"What it points to in {target} is gone.")


def _unguarded(session: Session) -> Iterator[Finding]:
    dialect = session.get_bind().dialect.name
    present = set(session.scalars(text(TRIGGERS[dialect])))
    for table in ("audit", "activations"):
        for guard in GUARDS[dialect]:
            if f"{table}_{guard}" not in present:
                problem = "This trigger is gone, so the table no longer only grows."
                yield Finding(table, f"{table}_{guard}", problem)


def _live(session: Session) -> Iterator[Finding]:
    """Law 9: what is live is approved, and is what the last activation names."""
    slots = select(SlotRow.deployment, SlotRow.alias, SlotRow.version_digest)
    for deployment, alias, digest in session.execute(slots).all():
        where = f"{deployment} {alias.value}"
        if alias is Alias.ACTIVE:
            named = current_activation(session, deployment)
            if named is None or named.version_digest != digest:
                yield Finding("slot", where, "It is not what the last activation names.")
        if digest is None:
            continue
        state = session.scalar(select(VersionRow.state).where(VersionRow.digest == digest))
        if state not in APPROVED_STATES or not _approved(session, digest):
            yield Finding("slot", where, f"Policy {digest[:12]} is there without an approval.")


def _approved(session: Session, digest: str) -> bool:
    about = (AuditRow.subject == digest) & (AuditRow.action == "approved")
    return session.scalar(select(AuditRow.sequence).where(about).limit(1)) is not None


def _published(session: Session, snapshot: Snapshot) -> Iterator[Finding]:
    where = f"{snapshot.deployment} {snapshot.sequence}"
    reached = next_sequence(session, snapshot.deployment) - 1
    if snapshot.sequence < reached:
        problem = (
            f"The store is at sequence {reached}: have it written with `evolver policy publish`."
        )
        yield Finding("snapshot", where, problem)
    if snapshot.sequence > reached:
        problem = (
            f"The store has only come to sequence {reached}: it is older than what hosts read."
        )
        yield Finding("snapshot", where, problem)
    if snapshot.sequence == 0:
        return
    until = select(ActivationRow).where(
        ActivationRow.deployment == snapshot.deployment,
        ActivationRow.sequence <= snapshot.sequence,  # trials take sequences, too
    )
    named = session.scalars(until.order_by(ActivationRow.sequence.desc()).limit(1)).first()
    good = snapshot.last_good.digest if snapshot.last_good else None
    names = (named.version_digest, named.good_digest) if named else (None, None)
    if snapshot.sequence <= reached and names != (snapshot.digest, good):
        yield Finding("snapshot", where, "It names other policies than this sequence does.")
