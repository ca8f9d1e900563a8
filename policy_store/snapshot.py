"""The active snapshot: one small file from which a host starts and keeps running without a store.

It carries the active policy and its last good one in full, under the deployment's sequence, and
is verified by recomputing every identity from the source and parameters it holds. It is written
whole or not at all, and neither writer nor reader goes back in sequence. `signature` is None until
snapshots are signed; what a signature covers is `signed_text(snapshot)`.

    {"schema": 1, "deployment": str, "sequence": int, "issued_at": ISO 8601, "signature": str|null,
     "active": POLICY|null, "last_good": POLICY|null}
    POLICY = {"digest": hex, "source": str, "parameters": {name: number}, "contract_version": int}

`active` null means the built-in default. No database, web framework or numba is imported here.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from policy_store.errors import SnapshotDamaged, SnapshotMissing, SnapshotStale
from sandbox.identity import canonical_json, canonical_parameters, policy_digest

SCHEMA = 1
MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """A policy in full; `digest` is its identity over the other three."""

    digest: str
    source: str
    parameters: Mapping[str, float]
    contract_version: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a deployment runs: `active` (None: built-in default), and what to fall back on."""

    sequence: int
    active: SnapshotPolicy | None
    last_good: SnapshotPolicy | None
    issued_at: datetime
    deployment: str = "default"
    signature: str | None = None

    @property
    def digest(self) -> str | None:
        """The active policy's digest; None for the built-in default."""
        return self.active.digest if self.active else None


def signed_text(snapshot: Snapshot) -> str:
    """The canonical JSON of everything but the signature."""
    return canonical_json(_body(snapshot))


def write_snapshot(path: str | os.PathLike[str], snapshot: Snapshot) -> None:
    """Replace the file at `path` atomically and durably, read-only for everyone (0444).

    Raises:
        SnapshotDamaged: a digest in `snapshot` does not match what it names.
        SnapshotStale: the file there has a higher sequence.
    """
    target = Path(path)
    _check_policies(snapshot)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = canonical_json({**_body(snapshot), "signature": snapshot.signature})
    with _only_writer(target):
        try:
            present = read_snapshot(target).sequence
        except (SnapshotMissing, SnapshotDamaged):
            present = 0
        _check_sequence(target, snapshot.sequence, present)
        _replace(target, text.encode("ascii"))


def read_snapshot(path: str | os.PathLike[str], newest_seen: int = 0) -> Snapshot:
    """Read and verify the file at `path`.

    Args:
        newest_seen: the highest sequence that this process has accepted.

    Raises:
        SnapshotMissing: there is no file.
        SnapshotDamaged: it cannot be parsed, or a digest does not match.
        SnapshotStale: its sequence is below `newest_seen`.
    """
    source = Path(path)
    snapshot = _parse(source, _read_bounded(source))
    _check_policies(snapshot)
    _check_sequence(source, snapshot.sequence, newest_seen)
    return snapshot


def _body(snapshot: Snapshot) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "deployment": snapshot.deployment,
        "sequence": snapshot.sequence,
        "issued_at": snapshot.issued_at.astimezone(UTC).isoformat(timespec="microseconds"),
        "active": _policy_body(snapshot.active),
        "last_good": _policy_body(snapshot.last_good),
    }


def _policy_body(policy: SnapshotPolicy | None) -> dict[str, object] | None:
    if policy is None:
        return None
    return {
        "digest": policy.digest,
        "source": policy.source,
        "parameters": canonical_parameters(policy.parameters),
        "contract_version": policy.contract_version,
    }


@contextmanager
def _only_writer(target: Path) -> Iterator[None]:
    # Reading the present sequence and replacing the file is one step among writers.
    with open(target.with_name(target.name + ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(target: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=target.name + ".", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o444)
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read_bounded(source: Path) -> bytes:
    try:
        with open(source, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise SnapshotMissing(
            f"There is no active snapshot at {source}: activate a policy, or check the path."
        ) from error
    except OSError as error:
        raise _damaged(source, f"it cannot be read, {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise _damaged(source, f"it is larger than {MAX_BYTES} bytes")
    return content


def _parse(source: Path, content: bytes) -> Snapshot:
    try:
        body = json.loads(content)
        if body["schema"] != SCHEMA:
            raise ValueError(f"schema {body['schema']} is not {SCHEMA}")
        return Snapshot(
            sequence=_whole(body["sequence"]),
            active=_parse_policy(body["active"]),
            last_good=_parse_policy(body["last_good"]),
            issued_at=_aware(_text(body["issued_at"])),
            deployment=_text(body["deployment"]),
            signature=None if body["signature"] is None else _text(body["signature"]),
        )
    except (KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise _damaged(source, f"it does not parse, {error}") from error


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
    )


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


def _aware(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("the time of issue has no zone")
    return moment.astimezone(UTC)


def _check_policies(snapshot: Snapshot) -> None:
    for role, policy in (("active", snapshot.active), ("last good", snapshot.last_good)):
        if policy is None:
            continue
        try:
            digest = policy_digest(policy.source, policy.parameters, policy.contract_version)
        except (OverflowError, ValueError) as error:
            raise SnapshotDamaged(f"The {role} policy cannot be kept: {error}") from error
        if digest != policy.digest:
            raise SnapshotDamaged(
                f"The {role} policy of the snapshot is not {policy.digest[:12]}, which it claims "
                "to be: have the store write the snapshot again."
            )


def _check_sequence(path: Path, sequence: int, newest_seen: int) -> None:
    if sequence < newest_seen:
        raise SnapshotStale(
            f"The snapshot for {path} has sequence {sequence}, below {newest_seen} already seen: "
            "keep what runs, and have the store write the snapshot again."
        )


def _damaged(source: Path, why: str) -> SnapshotDamaged:
    return SnapshotDamaged(
        f"The active snapshot {source} is unusable ({why}): have the store write it again."
    )
