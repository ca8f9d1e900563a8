"""The decision of the demo: a winner is approved, made active and published, all on record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from policy_store import PolicyStore, Snapshot, read_snapshot, write_snapshot
from policy_store.records import AuditEntry, AuditVerdict


@dataclass(frozen=True, slots=True)
class Decision:
    """An approved policy as a serving host finds it.

    Attributes:
        snapshot: read back from the file, its digests recomputed.
        history: what happened to the policy in the store, oldest first.
    """

    path: Path
    snapshot: Snapshot
    history: Sequence[AuditEntry]
    audit: AuditVerdict


def decide(store: PolicyStore, policy: str, by: str, home: Path) -> Decision:
    """Approve and activate a stored policy, and write the file that hosts follow."""
    store.approve(policy, by, "the demo: better on windows that the search did not see")
    store.activate(policy, store.slot().sequence, by, "the demo: swap it in under load")
    path = home / "active.json"
    write_snapshot(path, store.snapshot())
    return Decision(path, read_snapshot(path), store.history(policy), store.audit.verify())
