"""What a snapshot says: its parts, its canonical text, and the way back from a file's bytes.

    {"schema": 2, "deployment": str, "sequence": int, "audit_head": hex,
     "issued_at": TIME, "not_before": TIME, "expires_at": TIME,
     "active": POLICY|null, "last_good": POLICY|null, "signature": {"key": hex, "value": hex}|null}
    while a trial runs: "schema": 3, "canary": {"policy": POLICY, "weight": number}|null,
     "shadow": POLICY|null; hosts that know no trials refuse it and keep what they run
    once a policy has been measured: "schema": 4, "canary" and "shadow" as in 3, and in every POLICY
     "signals": str|null, the signal profile that its latest evidence was made with
    POLICY = {"digest": hex, "source": str, "parameters": {name: number}, "contract_version": int,
              "approved": {"by": str, "entry": hex}}

A TIME is ISO 8601 in UTC, `entry` the hash of the audit entry that holds the approval. Only the
canonical text is read, so that every bit of a file counts: another spelling of the same is damage.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from policy_store.signing import Signature
from sandbox.identity import canonical_json, canonical_parameters

SCHEMA, TRIAL_SCHEMA, SIGNALS_SCHEMA = 2, 3, 4


@dataclass(frozen=True, slots=True)
class Approval:
    """Who approved a policy, and the hash of the audit entry that says so."""

    by: str
    entry: str


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """A policy in full; `digest` is its identity over source, parameters and contract version.

    `signals` is the signal profile of its latest evidence; None when nothing was measured.
    """

    digest: str
    source: str
    parameters: Mapping[str, float]
    contract_version: int
    approved: Approval
    signals: str | None = None


@dataclass(frozen=True, slots=True)
class SnapshotCanary:
    """A policy on trial, and the share of sessions that it decides, above 0 and at most 1."""

    policy: SnapshotPolicy
    weight: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a deployment runs: `active` (None: built-in default), and what to fall back on.

    Attributes:
        sequence: numbers the decisions of a deployment; a host never goes back.
        issued_at: when this was written.
        not_before, expires_at: a host runs it from the one until the other.
        audit_head: the hash at the end of the audit log, which every decision so far leads to.
        canary: decides a share of the sessions.
        shadow: is asked beside what decides, and decides nothing.
        signature: over everything else; None only until it is signed.
    """

    sequence: int
    active: SnapshotPolicy | None
    last_good: SnapshotPolicy | None
    issued_at: datetime
    not_before: datetime
    expires_at: datetime
    audit_head: str
    deployment: str = "default"
    canary: SnapshotCanary | None = None
    shadow: SnapshotPolicy | None = None
    signature: Signature | None = None

    @property
    def named(self) -> dict[str, SnapshotPolicy]:
        """Every policy in it, by its place."""
        trial = self.canary.policy if self.canary else None
        places = {"active": self.active, "last good": self.last_good, "canary": trial,
                  "shadow": self.shadow}  # fmt: skip
        return {place: policy for place, policy in places.items() if policy is not None}

    @property
    def digest(self) -> str | None:
        """The active policy's digest; None for the built-in default."""
        return self.active.digest if self.active else None


def signed_text(snapshot: Snapshot) -> str:
    """The canonical JSON of everything but the signature."""
    return canonical_json(_body(snapshot))


def file_text(snapshot: Snapshot) -> str:
    """The canonical JSON of all of it."""
    signature = snapshot.signature
    signed = None if signature is None else {"key": signature.key, "value": signature.value}
    return canonical_json({**_body(snapshot), "signature": signed})


def parse_snapshot(content: bytes) -> Snapshot:
    """The snapshot in a file's bytes; nothing about it has been checked yet.

    Raises:
        ValueError: the bytes are not the canonical text of a snapshot.
    """
    try:
        body = json.loads(content)
        if body["schema"] not in (SCHEMA, TRIAL_SCHEMA, SIGNALS_SCHEMA):
            raise ValueError(f"schema {body['schema']} is not one of {SCHEMA} to {SIGNALS_SCHEMA}")
        snapshot = Snapshot(
            sequence=_whole(body["sequence"]),
            active=_parse_policy(body["active"]),
            last_good=_parse_policy(body["last_good"]),
            issued_at=_moment(body["issued_at"]),
            not_before=_moment(body["not_before"]),
            expires_at=_moment(body["expires_at"]),
            audit_head=_text(body["audit_head"]),
            deployment=_text(body["deployment"]),
            canary=_parse_canary(body.get("canary")),
            shadow=_parse_policy(body.get("shadow")),
            signature=_parse_signature(body["signature"]),
        )
        if file_text(snapshot).encode("ascii") != content:
            raise ValueError("it is not spelt as the store spells it")
    except (KeyError, OverflowError, RecursionError, TypeError) as error:
        raise ValueError(str(error)) from error
    return snapshot


def _body(snapshot: Snapshot) -> dict[str, object]:
    canary, shadow = snapshot.canary, snapshot.shadow
    schema = _schema(snapshot)
    body = partial(_policy_body, measured=schema == SIGNALS_SCHEMA)
    trials: dict[str, object] = {}
    if schema != SCHEMA:
        trials = {"canary": None, "shadow": body(shadow)}
    if canary is not None:
        trials["canary"] = {"policy": body(canary.policy), "weight": canary.weight}
    return {
        "schema": schema,
        **trials,
        "deployment": snapshot.deployment,
        "sequence": snapshot.sequence,
        "audit_head": snapshot.audit_head,
        "issued_at": _iso(snapshot.issued_at),
        "not_before": _iso(snapshot.not_before),
        "expires_at": _iso(snapshot.expires_at),
        "active": body(snapshot.active),
        "last_good": body(snapshot.last_good),
    }


def _schema(snapshot: Snapshot) -> int:
    """The oldest that says all of it, so that older hosts refuse only what they cannot know."""
    if any(policy.signals is not None for policy in snapshot.named.values()):
        return SIGNALS_SCHEMA
    trial = snapshot.canary is not None or snapshot.shadow is not None
    return TRIAL_SCHEMA if trial else SCHEMA


def _policy_body(policy: SnapshotPolicy | None, *, measured: bool) -> dict[str, object] | None:
    if policy is None:
        return None
    return {
        **({"signals": policy.signals} if measured else {}),
        "digest": policy.digest,
        "source": policy.source,
        "parameters": canonical_parameters(policy.parameters),
        "contract_version": policy.contract_version,
        "approved": {"by": policy.approved.by, "entry": policy.approved.entry},
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _parse_policy(body: object) -> SnapshotPolicy | None:
    if body is None:
        return None
    if not isinstance(body, dict) or not isinstance(body["parameters"], dict):
        raise TypeError("a policy is not an object")
    return SnapshotPolicy(
        digest=_text(body["digest"]),
        source=_text(body["source"]),
        parameters={_text(name): _number(value) for name, value in body["parameters"].items()},
        contract_version=_whole(body["contract_version"]),
        approved=Approval(_text(body["approved"]["by"]), _text(body["approved"]["entry"])),
        signals=None if body.get("signals") is None else _text(body["signals"]),
    )


def _parse_canary(body: object) -> SnapshotCanary | None:
    if body is None:
        return None
    policy = _parse_policy(body["policy"]) if isinstance(body, dict) else None
    if policy is None or not isinstance(body, dict):
        raise TypeError("a canary is not a policy with a weight")
    weight = _number(body["weight"])
    if not 0.0 < weight <= 1.0:
        raise ValueError(f"a canary's weight of {weight:g} is no share")
    return SnapshotCanary(policy, weight)


def _parse_signature(body: object) -> Signature | None:
    if body is None:
        return None
    if not isinstance(body, dict):
        raise TypeError("a signature is not an object")
    return Signature(_text(body["key"]), _text(body["value"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is not a string")
    return value


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError("a count is not a whole number")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a parameter is not a number")
    return float(value)


def _moment(value: object) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError("a time has no zone")
    return moment.astimezone(UTC)
