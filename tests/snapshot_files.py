"""Signed snapshot files of real policies, as a store writes them, for hosts in other processes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from policy_store.keys import SigningKey, TrustedKeys, new_signing_key, write_trusted
from policy_store.snapshot import (
    Approval,
    Snapshot,
    SnapshotCanary,
    SnapshotPolicy,
    write_snapshot,
)
from sandbox.contract import CONTRACT_VERSION
from sandbox.verifier import verify


class SnapshotFile:
    """Writes one sequence after the other, and remembers what each may have decided."""

    def __init__(self, folder: Path) -> None:
        self.path, self.trust = folder / "active.json", folder / "trusted.json"
        self.key: SigningKey = new_signing_key(folder / "keys", "ada")
        write_trusted(self.trust, TrustedKeys((self.key.public,)))
        self.sequence = 0
        self.named: dict[int, set[str]] = {}

    def publish(
        self, active: str | None, last_good: str | None = None, canary: tuple[str, float] = ("", 0)
    ) -> int:
        """The next sequence goes live for whoever follows the file; a canary with its share."""
        self.sequence += 1
        policies = [_policy(text) for text in (active, last_good)]
        trial = _policy(canary[0] or None)
        now = datetime.now(UTC).replace(microsecond=0)
        write_snapshot(
            self.path,
            Snapshot(self.sequence, *policies, issued_at=now, not_before=now - timedelta(hours=1),
                     expires_at=now + timedelta(days=1), audit_head="b" * 64,
                     canary=SnapshotCanary(trial, canary[1]) if trial else None),
            self.key,
        )  # fmt: skip
        self.named[self.sequence] = {policy.digest for policy in (*policies, trial) if policy}
        return self.sequence


def _policy(text: str | None) -> SnapshotPolicy | None:
    if text is None:
        return None
    source = verify(text, "policy")
    approval = Approval("ada", "a" * 64)
    return SnapshotPolicy(
        source.digest(), source.canonical, source.parameters(), CONTRACT_VERSION, approval
    )
