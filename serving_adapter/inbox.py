"""Where snapshots land that came over a network: verified like any other, then followed as a file.

    STATE/snapshot.json     what was pushed to this host or fetched from a store, as it was signed

Neither way in is trusted. What does not pass `Admission.check` is not even written, and a file that
somebody else writes there is checked again by every process that reads it.
"""

from __future__ import annotations

from pathlib import Path

from policy_store.errors import SnapshotDamaged, StoreError
from policy_store.files import only_writer, replace_file
from policy_store.snapshot import MAX_BYTES, Snapshot
from policy_store.statement import parse_snapshot
from serving_adapter.admission import Admission
from serving_adapter.errors import AdapterError, StateUnusable

SNAPSHOT_NAME = "snapshot.json"


class SnapshotInbox:
    """The inbox of one host; every method blocks, so call it in a thread."""

    def __init__(self, state: Path, admission: Admission) -> None:
        self.path = state / SNAPSHOT_NAME
        self._admission = admission

    def check(self, content: bytes) -> Snapshot:
        """The snapshot in some bytes, if it may go live here.

        Raises:
            SnapshotError, KeyProblem, SnapshotRefused, StateUnusable: see `Admission.check`.
        """
        try:
            if len(content) > MAX_BYTES:
                raise ValueError(f"it is larger than {MAX_BYTES} bytes")
            snapshot = parse_snapshot(content)
        except ValueError as error:
            raise SnapshotDamaged(
                f"What came is no snapshot ({error}): send the file as the store wrote it."
            ) from error
        self._admission.check(snapshot)
        return snapshot

    def put(self, content: bytes) -> Snapshot:
        """Keep a snapshot for all processes of the host, unless a newer one is there.

        Raises:
            SnapshotError, KeyProblem, SnapshotRefused: it may not go live here.
            StateUnusable: it cannot be written.
        """
        snapshot = self.check(content)
        try:
            with only_writer(self.path):
                if self._present() <= snapshot.sequence:
                    replace_file(self.path, content, 0o600)
        except OSError as error:
            raise StateUnusable(
                f"{self.path} cannot be written ({error.strerror}), so the other processes of "
                "this host are not told: mend the folder, then send it again."
            ) from error
        return snapshot

    def _present(self) -> int:
        try:
            return self._admission.read(self.path).sequence
        except (AdapterError, StoreError):
            return 0
