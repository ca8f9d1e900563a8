"""The decision of the demo: a winner is approved, made active and published, all on record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evolver.cli.publishing import publish, signing_key, snapshot_path, trust_path
from evolver.cli.screen import Screen
from policy_store import PolicyStore, Snapshot, read_snapshot
from policy_store.keys import read_trusted
from policy_store.records import AuditEntry, AuditVerdict


@dataclass(frozen=True, slots=True)
class Decision:
    """An approved policy as a serving host finds it.

    Attributes:
        snapshot: read back from the file as a host does, signature checked, digests recomputed.
        history: what happened to the policy in the store, oldest first.
    """

    path: Path
    snapshot: Snapshot
    history: Sequence[AuditEntry]
    audit: AuditVerdict


def decide(store: PolicyStore, policy: str, by: str, home: Path, screen: Screen) -> Decision:
    """Approve and activate a stored policy, and sign the file that hosts follow."""
    key = signing_key(home, screen, by)
    store.approve(policy, by, "the demo: better on windows that the search did not see")
    store.activate(policy, store.slot().sequence, by, "the demo: swap it in under load")
    publish(store, home, key)
    path = snapshot_path(home)
    snapshot = read_snapshot(path, read_trusted(trust_path(home)))
    return Decision(path, snapshot, store.history(policy), store.audit.verify())
