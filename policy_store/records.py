"""What the store hands out: plain frozen records, never rows of the database.

Every time is UTC-aware; every digest is 64 lower-case hex digits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from policy_store.lifecycle import State

DEFAULT_DEPLOYMENT = "default"


class Origin(StrEnum):
    """Who wrote a policy."""

    LIBRARY = "library"
    MUTATOR = "mutator"
    LLM = "llm"
    PERSON = "person"


class Alias(StrEnum):
    """The named places a policy can hold in one deployment."""

    ACTIVE = "active"
    LAST_GOOD = "last_good"
    CANARY = "canary"
    SHADOW = "shadow"


class Kind(StrEnum):
    """What a document about a policy is."""

    EVIDENCE = "evidence"  # what a verdict rests on
    CLOSE_UP = "close_up"  # single requests, candidate beside active, on one window
    LAST_HOUR = "last_hour"  # the same on what was served lately


class Role(StrEnum):
    """What a person may do on the review page; each role may do what those before it may."""

    VIEWER = "viewer"
    REVIEWER = "reviewer"
    ADMIN = "admin"


class Scope(StrEnum):
    """What an API token may be used for; a browser session has all that its role allows."""

    READ = "read"
    DECIDE = "decide"
    ADMINISTER = "administer"
    HOST = "host"  # fetch the signed snapshot, and report


SCOPES = {
    Role.VIEWER: (Scope.READ,),
    Role.REVIEWER: (Scope.READ, Scope.DECIDE),
    Role.ADMIN: (Scope.READ, Scope.DECIDE, Scope.ADMINISTER, Scope.HOST),
}
"""The scopes that tokens of somebody in a role can have."""


@dataclass(frozen=True, slots=True)
class PolicySource:
    """A canonical source under its digest; `claim` is what its author says it does."""

    digest: str
    text: str
    claim: str


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One policy: a source with its parameters under one version of the contract."""

    digest: str
    name: str
    state: State
    origin: Origin
    author: str
    contract_version: int
    source_digest: str
    parameters: Mapping[str, float]
    parents: tuple[str, ...]
    run: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class EvidenceRecord:
    """A JSON document of measurements under the digest of its canonical text, which stands for it.

    Equal digests are equal documents, so what is worked out from a record may be kept with it.
    """

    digest: str
    document: Mapping[str, object] = field(compare=False)
    attached_at: datetime
    kind: Kind = Kind.EVIDENCE


@dataclass(frozen=True, slots=True)
class PolicyDetails:
    """All that is kept about one version, its documents oldest first."""

    version: PolicyVersion
    source: PolicySource
    documents: tuple[EvidenceRecord, ...]

    @property
    def evidence(self) -> tuple[EvidenceRecord, ...]:
        """The documents that verdicts rest on."""
        return self.of_kind(Kind.EVIDENCE)

    def of_kind(self, kind: Kind) -> tuple[EvidenceRecord, ...]:
        """The documents of one kind, oldest first."""
        return tuple(one for one in self.documents if one.kind is kind)


@dataclass(frozen=True, slots=True)
class Slot:
    """What one alias of one deployment names; `sequence` only grows, 0 means never set.

    `digest` None means nobody: for `active`, the built-in default policy. `weight` is the share of
    traffic that a canary is to get, in 0..1.
    """

    deployment: str
    alias: Alias
    digest: str | None
    sequence: int
    changed_at: datetime | None
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class Activation:
    """What one sequence of a deployment names: a policy (None: built-in default), its fallback."""

    deployment: str
    sequence: int
    digest: str | None
    last_good: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Pulse:
    """How far the store has come; what is decided or live never changes without the audit log.

    Attributes:
        audit: sequence of the last entry.
        hosts: when any host was last seen.
        runs: last event of each unfinished run, and when one finished last.
    """

    audit: int
    hosts: datetime | None
    runs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit log; `hash` covers all other fields."""

    sequence: int
    at: datetime
    actor: str
    action: str
    subject: str | None
    deployment: str | None
    note: str
    details: Mapping[str, object]
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """The result of checking the whole log; `head` is the hash to compare with one kept elsewhere.

    `first_bad` is the sequence of the first entry that is altered, missing or out of place;
    `missing` are hashes kept elsewhere that no entry has.
    """

    entries: int
    head: str
    first_bad: int | None
    reason: str
    missing: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        """Whether every entry is as it was written, and all that were known are there."""
        return self.first_bad is None and not self.missing


@dataclass(frozen=True, slots=True)
class Run:
    """One evolution run; `finished_at` and `verdict` are None while it can be resumed.

    `pruned_at` says when its events went, all but those that sum it up; None: they are there.
    """

    id: str
    kind: str
    config: Mapping[str, object]
    started_at: datetime
    finished_at: datetime | None
    verdict: str | None
    summary: Mapping[str, object] | None
    pruned_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One step of a run, in order of `sequence` (1, 2, 3, ... without gaps)."""

    run: str
    sequence: int
    kind: str
    payload: Mapping[str, object]
    at: datetime


@dataclass(frozen=True, slots=True)
class Ejection:
    """A host's watchdog took a policy out; the sequence is the one the host was serving."""

    digest: str
    sequence: int
    kind: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class HostReport:
    """What one serving host last said; `digest` None means that it runs the built-in default.

    `facts` are counts since it started, and words, by name: `decisions`, `fallbacks`, `canary`, ...
    """

    host: str
    deployment: str
    sequence: int
    digest: str | None
    seen_at: datetime
    ejections: tuple[Ejection, ...] = ()
    facts: Mapping[str, float | str] = field(default_factory=dict)
