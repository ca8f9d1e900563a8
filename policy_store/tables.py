"""The tables, as typed SQLAlchemy models.

Sources and evidence are filed under the digest of their text and never change. `versions.state`
and `slots` change only in `decisions`; `activations` and `audit` only grow (triggers made by the
migration abort anything else). JSON columns hold payloads that no query looks into.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from sqlalchemy import (
    JSON,
    DateTime,
    Dialect,
    Double,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from policy_store.lifecycle import State
from policy_store.records import Alias, Kind, Origin, Role

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """A UTC-aware datetime, also on databases that forget the time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> datetime | None:
        """Store UTC; a naive datetime is an error, because its zone is unknown."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone: pass a UTC-aware datetime.")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> datetime | None:
        """Give UTC back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def checked(kind: type[StrEnum], name: str) -> Enum:
    """A string column that the database restricts to the members' values."""
    return Enum(
        kind,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )


Digest = Annotated[str, mapped_column(String(64))]
Name = Annotated[str, mapped_column(String(80))]
Moment = Annotated[datetime, mapped_column(UtcDateTime)]
Payload = Annotated[dict[str, Any], mapped_column(JSON)]


class Base(MappedAsDataclass, DeclarativeBase, kw_only=True):
    """Root of the models; constraint names follow one convention so that migrations find them."""

    metadata = MetaData(naming_convention=NAMING)


class SourceRow(Base):
    """A canonical source under the SHA-256 of its text."""

    __tablename__ = "sources"
    digest: Mapped[Digest] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    claim: Mapped[str] = mapped_column(Text)
    created_at: Mapped[Moment]


class VersionRow(Base):
    """A policy under its identity; `parameters` is canonical JSON, covered by that identity."""

    __tablename__ = "versions"
    __table_args__ = (Index(None, "state", "created_at"),)
    digest: Mapped[Digest] = mapped_column(primary_key=True)
    source_digest: Mapped[Digest] = mapped_column(ForeignKey("sources.digest"), index=True)
    contract_version: Mapped[int]
    parameters: Mapped[str] = mapped_column(Text)
    name: Mapped[Name]
    origin: Mapped[Origin] = mapped_column(checked(Origin, "origin"))
    author: Mapped[Name]
    state: Mapped[State] = mapped_column(checked(State, "state"))
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id"), index=True)
    created_at: Mapped[Moment] = mapped_column(index=True)


class ParentRow(Base):
    """One edge of the lineage: `child` was made from `parent`."""

    __tablename__ = "parents"
    child: Mapped[Digest] = mapped_column(ForeignKey("versions.digest"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    parent: Mapped[Digest] = mapped_column(ForeignKey("versions.digest"), index=True)


class EvidenceRow(Base):
    """A document of measurements under the SHA-256 of its canonical JSON."""

    __tablename__ = "evidence"
    digest: Mapped[Digest] = mapped_column(primary_key=True)
    document: Mapped[str] = mapped_column(Text)
    created_at: Mapped[Moment]


class AttachmentRow(Base):
    """Which evidence speaks about which version."""

    __tablename__ = "attachments"
    version_digest: Mapped[Digest] = mapped_column(ForeignKey("versions.digest"), primary_key=True)
    evidence_digest: Mapped[Digest] = mapped_column(
        ForeignKey("evidence.digest"), primary_key=True, index=True
    )
    attached_at: Mapped[Moment]
    kind: Mapped[Kind] = mapped_column(checked(Kind, "kind"), server_default=Kind.EVIDENCE.value)


class RunRow(Base):
    """One evolution run."""

    __tablename__ = "runs"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[Name]
    config: Mapped[Payload]
    started_at: Mapped[Moment] = mapped_column(index=True)
    finished_at: Mapped[Moment | None] = mapped_column(default=None)
    verdict: Mapped[Name | None] = mapped_column(default=None)
    summary: Mapped[Payload | None] = mapped_column(default=None)
    pruned_at: Mapped[Moment | None] = mapped_column(default=None)


class RunEventRow(Base):
    """One step of a run, numbered from 1; without gaps until the run is pruned."""

    __tablename__ = "run_events"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[Name]
    payload: Mapped[Payload]
    at: Mapped[Moment]


class SlotRow(Base):
    """What one alias of one deployment names now."""

    __tablename__ = "slots"
    deployment: Mapped[Name] = mapped_column(primary_key=True)
    alias: Mapped[Alias] = mapped_column(checked(Alias, "alias"), primary_key=True)
    version_digest: Mapped[Digest | None] = mapped_column(ForeignKey("versions.digest"), index=True)
    sequence: Mapped[int]
    changed_at: Mapped[Moment]
    weight: Mapped[float | None] = mapped_column(default=None)


class ActivationRow(Base):
    """What each sequence of a deployment names; `good_sequence` chains to what was good before."""

    __tablename__ = "activations"
    __table_args__ = (
        ForeignKeyConstraint(
            ["deployment", "good_sequence"], ["activations.deployment", "activations.sequence"]
        ),
    )
    deployment: Mapped[Name] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version_digest: Mapped[Digest | None] = mapped_column(ForeignKey("versions.digest"), index=True)
    good_sequence: Mapped[int | None]
    good_digest: Mapped[Digest | None] = mapped_column(ForeignKey("versions.digest"), index=True)
    at: Mapped[Moment]


class AuditRow(Base):
    """One line of the audit log; `at` and `details` are kept as the very text that was hashed."""

    __tablename__ = "audit"
    # With the sequence: pages of one person's, one action's or one policy's entries, newest first.
    __table_args__ = (
        Index(None, "subject", "sequence"),
        Index(None, "actor", "sequence"),
        Index(None, "action", "sequence"),
    )
    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(32))
    actor: Mapped[Name]
    action: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str | None] = mapped_column(String(64))
    deployment: Mapped[Name | None]
    note: Mapped[str] = mapped_column(Text)
    details: Mapped[str] = mapped_column(Text)
    previous_hash: Mapped[Digest]
    hash: Mapped[Digest]


class AuditHeadRow(Base):
    """The one row that says how long the log is: removed last entries show, writers queue on it."""

    __tablename__ = "audit_head"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int]
    hash: Mapped[Digest]


class HostRow(Base):
    """What one serving host last said."""

    __tablename__ = "hosts"
    deployment: Mapped[Name] = mapped_column(primary_key=True)
    host: Mapped[Name] = mapped_column(primary_key=True)
    sequence: Mapped[int]
    # No foreign key: a host may run what this store has never heard of, and that must be seen.
    digest: Mapped[Digest | None]
    seen_at: Mapped[Moment]
    facts: Mapped[Payload | None] = mapped_column(default=None)


class HostEjectionRow(Base):
    """One ejection by one host; reported again, it is the same row."""

    __tablename__ = "host_ejections"
    __table_args__ = (
        ForeignKeyConstraint(["deployment", "host"], ["hosts.deployment", "hosts.host"]),
    )
    deployment: Mapped[Name] = mapped_column(primary_key=True)
    host: Mapped[Name] = mapped_column(primary_key=True)
    digest: Mapped[Digest] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[Name]
    reason: Mapped[str] = mapped_column(Text)
    at: Mapped[Moment]


class AccountRow(Base):
    """Somebody who may sign in; without a password, through a link or another sign-in only."""

    __tablename__ = "accounts"
    name: Mapped[Name] = mapped_column(primary_key=True)
    # The name as eyes read it, so that no two look alike.
    likeness: Mapped[str] = mapped_column(String(320), unique=True)
    role: Mapped[Role] = mapped_column(checked(Role, "role"))
    created_at: Mapped[Moment]
    password: Mapped[str | None] = mapped_column(Text, default=None)
    # Who an identity provider says it is: issuer and subject.
    identity: Mapped[str | None] = mapped_column(String(512), unique=True, default=None)
    disabled: Mapped[bool] = mapped_column(default=False)


class SessionRow(Base):
    """A signed-in browser under the SHA-256 of its cookie."""

    __tablename__ = "sessions"
    digest: Mapped[Digest] = mapped_column(primary_key=True)
    account: Mapped[Name] = mapped_column(ForeignKey("accounts.name"), index=True)
    csrf: Mapped[Digest]
    created_at: Mapped[Moment]
    seen_at: Mapped[Moment]
    expires_at: Mapped[Moment] = mapped_column(index=True)


class LinkRow(Base):
    """A link, under the SHA-256 of its secret, that once sets a password or makes an admin."""

    __tablename__ = "links"
    digest: Mapped[Digest] = mapped_column(primary_key=True)
    # None: the first start's; who opens it chooses a name and becomes an admin.
    account: Mapped[Name | None] = mapped_column(ForeignKey("accounts.name"), index=True)
    created_at: Mapped[Moment]
    expires_at: Mapped[Moment]
    used_at: Mapped[Moment | None] = mapped_column(default=None)


class TokenRow(Base):
    """A program's key to the API under the SHA-256 of its secret."""

    __tablename__ = "tokens"
    digest: Mapped[Digest] = mapped_column(primary_key=True)
    name: Mapped[Name]
    account: Mapped[Name] = mapped_column(ForeignKey("accounts.name"), index=True)
    scopes: Mapped[str] = mapped_column(String(80))
    created_at: Mapped[Moment]
    expires_at: Mapped[Moment]
    used_at: Mapped[Moment | None] = mapped_column(default=None)
    revoked_at: Mapped[Moment | None] = mapped_column(default=None)


class RuleRow(Base):
    """An approval rule as a person wrote it; removed, it stays for the record."""

    __tablename__ = "rules"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[Name] = mapped_column(index=True)
    text: Mapped[str] = mapped_column(Text)
    installed_by: Mapped[Name]
    installed_at: Mapped[Moment]
    removed_by: Mapped[Name | None] = mapped_column(default=None)
    removed_at: Mapped[Moment | None] = mapped_column(default=None)


class LeaseRow(Base):
    """Which process may act under a name, until when by the database's clock."""

    __tablename__ = "leases"
    name: Mapped[Name] = mapped_column(primary_key=True)
    holder: Mapped[Name]
    fencing: Mapped[int]
    expires_unix_s: Mapped[float] = mapped_column(Double)


class DaemonRow(Base):
    """Where the daemon of a deployment stands."""

    __tablename__ = "daemons"
    deployment: Mapped[Name] = mapped_column(primary_key=True)
    step: Mapped[Name]
    version: Mapped[int]
    episode: Mapped[int]
    body: Mapped[Payload]
    changed_at: Mapped[Moment]


class EpisodeRow(Base):
    """One evolution run of a daemon, from why it was begun to what became of its policy."""

    __tablename__ = "episodes"
    deployment: Mapped[Name] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    began_at: Mapped[Moment]
    facts: Mapped[Payload]
    ended_at: Mapped[Moment | None] = mapped_column(default=None)
    outcome: Mapped[Name | None] = mapped_column(default=None)
    # No foreign keys: what a daemon did stays on record when its run or policy has gone.
    run_id: Mapped[str | None] = mapped_column(String(32), default=None)
    version_digest: Mapped[Digest | None] = mapped_column(default=None)
