"""The active snapshot: one small signed file from which a host runs without a store.

It carries the active policy, its last good one and those on trial in full, under the deployment's
sequence, with who approved them and until when that holds (see `statement`). It is signed as it is
written, and believed only under the signature of a trusted key; every identity in it is recomputed.
It is written whole or not at all, and neither writer nor reader goes back in sequence.

`active` null means the built-in default. No database, web framework or numba is imported here.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from policy_store.errors import (
    SnapshotDamaged,
    SnapshotError,
    SnapshotExpired,
    SnapshotMisdirected,
    SnapshotMissing,
    SnapshotNotYetValid,
    SnapshotStale,
    SnapshotUnsigned,
)
from policy_store.files import only_writer, open_file, replace_file
from policy_store.keys import PublicKey, SigningKey, TrustedKeys
from policy_store.signing import check_text, sign_text
from policy_store.statement import (
    Approval,
    Snapshot,
    SnapshotCanary,
    SnapshotPolicy,
    file_text,
    parse_snapshot,
    signed_text,
)
from sandbox.identity import policy_digest

__all__ = [
    "VALID_FOR",
    "Approval",
    "Snapshot",
    "SnapshotCanary",
    "SnapshotPolicy",
    "check_snapshot",
    "present_snapshot",
    "read_snapshot",
    "sign_snapshot",
    "signed_text",
    "write_snapshot",
]

PURPOSE = "evolver active snapshot 2"
VALID_FOR = timedelta(days=30)
MAX_BYTES = 1 << 20


def wall_clock() -> datetime:
    """The time by which snapshots begin and end."""
    return datetime.now(UTC)


def sign_snapshot(snapshot: Snapshot, key: SigningKey) -> Snapshot:
    """The same snapshot with this key's signature."""
    return replace(snapshot, signature=sign_text(signed_text(snapshot), PURPOSE, key))


def write_snapshot(path: str | os.PathLike[str], snapshot: Snapshot, key: SigningKey) -> Snapshot:
    """Sign, and replace the file at `path` atomically and durably, read-only for everyone (0444).

    Raises:
        SnapshotDamaged: a digest in `snapshot` does not match what it names.
        SnapshotStale: the file there has a higher sequence under the same key.
    """
    target = Path(path)
    _check_policies(snapshot)
    signed = sign_snapshot(snapshot, key)
    with only_writer(target):
        present = present_snapshot(target, key.public)
        _check_sequence(snapshot, present.sequence if present else 0)
        replace_file(target, file_text(signed).encode("ascii"), 0o444)
    return signed


def read_snapshot(
    path: str | os.PathLike[str],
    trusted: TrustedKeys,
    *,
    deployment: str = "default",
    newest_seen: int = 0,
    clock: Callable[[], datetime] = wall_clock,
) -> Snapshot:
    """Read the file at `path` and check it, see `check_snapshot`.

    Raises:
        SnapshotMissing: there is no file.
        SnapshotDamaged: it cannot be parsed, or a digest does not match.
        SnapshotError: another of its kinds, each for one reason not to run it.
    """
    snapshot = _parse(Path(path))
    check_snapshot(snapshot, trusted, deployment=deployment, newest_seen=newest_seen, clock=clock)
    return snapshot


def check_snapshot(
    snapshot: Snapshot,
    trusted: TrustedKeys,
    *,
    deployment: str = "default",
    newest_seen: int = 0,
    clock: Callable[[], datetime] = wall_clock,
) -> PublicKey:
    """Everything that must be true before a host looks at the policies; returns who signed.

    Args:
        deployment: what this host serves.
        newest_seen: the highest sequence that this host has accepted.

    Raises:
        SnapshotUnsigned, SnapshotUntrusted, SnapshotForged: it proves nothing.
        SnapshotDamaged: a digest does not match.
        SnapshotMisdirected, SnapshotStale: it is not for here, or no longer.
        SnapshotNotYetValid, SnapshotExpired: it is not for now.
    """
    if snapshot.signature is None:
        raise SnapshotUnsigned(
            "The snapshot is not signed, so nobody answers for it: have the store write it again."
        )
    key = check_text(signed_text(snapshot), PURPOSE, snapshot.signature, trusted)
    _check_policies(snapshot)
    if snapshot.deployment != deployment:
        raise SnapshotMisdirected(
            f"The snapshot is for deployment {snapshot.deployment!r}, this host serves "
            f"{deployment!r}: give the host the right file or the right name."
        )
    _check_sequence(snapshot, newest_seen)
    _check_time(snapshot, clock())
    return key


def _check_time(snapshot: Snapshot, now: datetime) -> None:
    if now < snapshot.not_before:
        raise SnapshotNotYetValid(
            f"The snapshot is valid from {snapshot.not_before:%Y-%m-%d %H:%M:%S} UTC and the clock "
            f"here says {now:%Y-%m-%d %H:%M:%S}: set the clocks right."
        )
    if now >= snapshot.expires_at:
        raise SnapshotExpired(
            f"The snapshot was valid until {snapshot.expires_at:%Y-%m-%d %H:%M:%S} UTC: look at "
            "its evidence again, then run `evolver policy renew`."
        )


def present_snapshot(path: str | os.PathLike[str], key: PublicKey) -> Snapshot | None:
    """What was last written under this key, in its term or not; None without, or not ours."""
    try:
        present = _parse(Path(path))
        if present.signature is None:
            return None
        check_text(signed_text(present), PURPOSE, present.signature, TrustedKeys((key,)))
    except SnapshotError:
        return None
    return present


def _parse(source: Path) -> Snapshot:
    content = _read_bounded(source)
    try:
        return parse_snapshot(content)
    except ValueError as error:
        raise _damaged(source, f"it does not parse, {error}") from error


def _read_bounded(source: Path) -> bytes:
    try:
        with open_file(source) as file:
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


def _check_policies(snapshot: Snapshot) -> None:
    for role, policy in snapshot.named.items():
        try:
            digest = policy_digest(policy.source, policy.parameters, policy.contract_version)
        except (OverflowError, ValueError) as error:
            raise SnapshotDamaged(f"The {role} policy cannot be kept: {error}") from error
        if digest != policy.digest:
            raise SnapshotDamaged(
                f"The {role} policy of the snapshot is not {policy.digest[:12]}, which it claims "
                "to be: have the store write the snapshot again."
            )


def _check_sequence(snapshot: Snapshot, newest_seen: int) -> None:
    if snapshot.sequence < newest_seen:
        raise SnapshotStale(
            f"The snapshot has sequence {snapshot.sequence}, below {newest_seen} already seen: "
            "keep what runs, and have the store write the snapshot again."
        )


def _damaged(source: Path, why: str) -> SnapshotDamaged:
    return SnapshotDamaged(
        f"The active snapshot {source} is unusable ({why}): run `evolver policy publish`."
    )
