"""Which snapshots a host admits: signed by a key it trusts, for here and now, never an older one.

The highest sequence that was admitted is kept on disk before its policy decides anything, so that
a restart cannot be used to bring an old policy back:

    STATE/sequence.json   {"schema": 1, "deployment": str, "sequence": int, "policy": hex|null}
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from policy_store.errors import SnapshotStale
from policy_store.files import only_writer, open_file, replace_file, stamp_of
from policy_store.keys import TrustedKeys, read_trusted
from policy_store.snapshot import Snapshot, check_snapshot, read_snapshot, wall_clock
from sandbox.identity import canonical_json
from serving_adapter.errors import SnapshotRefused, StateUnusable

SCHEMA = 1
MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Floor:
    """The highest sequence admitted, and the policy it named (None: built-in default)."""

    sequence: int = 0
    policy: str | None = None


class Admission:
    """The checks of one host; without a trust file it admits nothing.

    Args:
        trust: a trust file or a folder of them, read again for every snapshot; or the keys.
        deployment: what this host serves.
        state: the folder that outlives restarts; without one, only this process remembers.
        clock: by which snapshots begin and end.

    Every method that touches a file blocks: call it in a thread.
    """

    def __init__(
        self,
        trust: Path | TrustedKeys = TrustedKeys(),  # noqa: B008 - immutable
        *,
        deployment: str = "default",
        state: Path | None = None,
        clock: Callable[[], datetime] = wall_clock,
    ) -> None:
        self.deployment = deployment
        self._trust = trust
        self._path = state / "sequence.json" if state else None
        self._clock = clock
        self._floor = Floor()
        self._watched: tuple[object, int] = None, 0

    @property
    def trust_file(self) -> Path | None:
        """Where the keys are; a change there may change what is admitted."""
        return self._trust if isinstance(self._trust, Path) else None

    def unix_s(self) -> float:
        """Wall-clock time, by which what is admitted ends."""
        return self._clock().timestamp()

    def read(self, path: Path) -> Snapshot:
        """The snapshot in a file, if it is admitted.

        Raises:
            SnapshotError, KeyProblem, SnapshotRefused, StateUnusable: see `check`.
        """
        floor = self.floor()
        snapshot = read_snapshot(path, self._trusted(), deployment=self.deployment,
                                 newest_seen=floor.sequence, clock=self._clock)  # fmt: skip
        _check_floor(snapshot, floor)
        return snapshot

    def check(self, snapshot: Snapshot) -> None:
        """Pass a snapshot that may go live.

        Raises:
            SnapshotError: its signature, deployment, time or sequence speaks against it.
            KeyProblem: the trust file cannot be used.
            SnapshotRefused: its sequence named another policy before.
            StateUnusable: what was admitted before cannot be read.
        """
        floor = self.floor()
        check_snapshot(snapshot, self._trusted(), deployment=self.deployment,
                       newest_seen=floor.sequence, clock=self._clock)  # fmt: skip
        _check_floor(snapshot, floor)

    def accept(self, snapshot: Snapshot) -> None:
        """Never admit anything older from now on, in no process of this host, nor after a restart.

        Raises:
            SnapshotStale: another process of this host went further since the snapshot was checked.
            SnapshotRefused: or has admitted another policy under its sequence.
            StateUnusable: that cannot be kept.
        """
        if self._path is None:
            _check_floor(snapshot, self._floor)
            self._floor = Floor(snapshot.sequence, snapshot.digest)
            return
        body = {"schema": SCHEMA, "deployment": self.deployment, "sequence": snapshot.sequence,
                "policy": snapshot.digest}  # fmt: skip
        try:
            with only_writer(self._path):
                floor = self.floor()
                _check_floor(snapshot, floor)
                if floor.sequence < snapshot.sequence or floor is self._floor:
                    replace_file(self._path, canonical_json(body).encode("ascii"), 0o644)
        except OSError as error:
            raise StateUnusable(
                f"{self._path} cannot be written ({error.strerror}), and without it a restart "
                "could go back: mend the folder, or give another with --state."
            ) from error
        self._floor = Floor(snapshot.sequence, snapshot.digest)

    def watched(self) -> int:
        """The sequence of the floor; cheap, since the file is only read when it has changed.

        Raises:
            StateUnusable: as `floor`.
        """
        stamp = stamp_of(self._path)
        if stamp is None or stamp != self._watched[0]:
            self._watched = stamp, self.floor().sequence
        return max(self._watched[1], self._floor.sequence)

    def floor(self) -> Floor:
        """The highest sequence that any process of this host has admitted.

        Raises:
            StateUnusable: the file is damaged, or of another deployment.
        """
        if self._path is None:
            return self._floor
        try:
            with open_file(self._path) as file:
                content = file.read(MAX_BYTES)
        except FileNotFoundError:
            return self._floor
        except OSError as error:
            raise self._damaged(str(error.strerror)) from error
        return max(self._floor, self._parse(content), key=lambda floor: floor.sequence)

    def _parse(self, content: bytes) -> Floor:
        try:
            body = json.loads(content)
            if (body["schema"], body["deployment"]) != (SCHEMA, self.deployment):
                raise ValueError(f"it is of deployment {body['deployment']!r}")
            sequence, policy = body["sequence"], body["policy"]
            if type(sequence) is not int or not isinstance(policy, str | None):
                raise TypeError("a field has the wrong type")
            if sequence < 0:
                raise ValueError("its sequence is below zero")
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise self._damaged(str(error)) from error
        return Floor(sequence, policy)

    def _trusted(self) -> TrustedKeys:
        return read_trusted(self._trust) if isinstance(self._trust, Path) else self._trust

    def _damaged(self, why: str) -> StateUnusable:
        return StateUnusable(
            f"{self._path} does not say what this host admitted last ({why}): look at what runs "
            "elsewhere, then remove the file or give another folder with --state."
        )


def _check_floor(snapshot: Snapshot, floor: Floor) -> None:
    if snapshot.sequence < floor.sequence:
        raise SnapshotStale(
            f"Sequence {snapshot.sequence} is below {floor.sequence}, which this host has "
            "admitted: have the store issue a new one."
        )
    if snapshot.sequence == floor.sequence > 0 and snapshot.digest != floor.policy:
        raise SnapshotRefused(
            f"Sequence {floor.sequence} named another policy on this host before: have the "
            "store issue a new one."
        )
