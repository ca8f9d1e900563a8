"""Follows snapshot files: whichever changes is read, verified, and the newest of them goes live."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from policy_store.errors import SnapshotNotYetValid, SnapshotStale, StoreError
from policy_store.files import stamp_of
from policy_store.snapshot import Snapshot
from serving_adapter.admission import Admission
from serving_adapter.errors import AdapterError
from serving_adapter.host_metrics import HostMetrics
from serving_adapter.short_turns import beside_the_loop

RETRY_S = 1.0

_log = logging.getLogger("evolver.host")


class SnapshotFiles:
    """The files from which one host takes what decides; belongs to its event loop.

    Attributes:
        again: read everything once more at the next turn, because a policy was let back in.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        admission: Admission,
        apply: Callable[[Snapshot], Awaitable[bool]],
        metrics: HostMetrics,
        behind: Callable[[], bool],
    ) -> None:
        self.again = False
        self._paths = tuple(dict.fromkeys(paths))
        self._admission, self._apply, self._metrics = admission, apply, metrics
        self._behind = behind
        self._stamps: dict[Path, object] = {}
        self._refused: dict[Path, tuple[object, str]] = {}
        self._admitted: dict[Path, int] = {}
        self._early: set[Path] = set()
        self._tried_s = 0.0

    async def run(self, poll_s: float) -> None:
        """Follow for ever; cancel to stop. Never raises for a file.

        One whose time has not come is tried until it has, and so is everything while this process
        is behind: what kept it from loading may be over.
        """
        trust: object = None
        while True:
            trust, trust_before = stamp_of(self._admission.trust_file), trust
            late = self._behind() and time.monotonic() - self._tried_s >= RETRY_S
            every = self.again or late or trust != trust_before
            self.again = False
            await self._try(every)
            await asyncio.sleep(poll_s)

    async def _try(self, every: bool) -> None:
        found: list[tuple[Path, Snapshot]] = []
        refused: list[tuple[Path, Exception]] = []
        for path in self._paths:
            stamp = stamp_of(path)
            changed = stamp != self._stamps.get(path)
            self._stamps[path] = stamp
            if stamp is None:
                self._admitted.pop(path, None)
            elif every or changed or path in self._early:
                try:
                    found.append((path, await self._read(path)))
                except (AdapterError, StoreError) as refusal:
                    refused.append((path, refusal))
        for path, why in refused:
            # One file may lag behind the other: then it is old, and nothing is wrong.
            if not (isinstance(why, SnapshotStale) and self._admitted):
                self._note(path, why)
        for path, snapshot in found:
            if snapshot.sequence == max(self._admitted.values()):
                await self._go_live(path, snapshot)

    async def _read(self, path: Path) -> Snapshot:
        self._tried_s = time.monotonic()
        self._admitted.pop(path, None)
        snapshot = await beside_the_loop(self._admission.read, path)
        self._early.discard(path)
        self._admitted[path] = snapshot.sequence
        return snapshot

    async def _go_live(self, path: Path, snapshot: Snapshot) -> None:
        try:
            await self._apply(snapshot)
        except (AdapterError, StoreError) as refusal:
            self._note(path, refusal)
        else:
            self._refused.pop(path, None)

    def _note(self, path: Path, refusal: Exception) -> None:
        """Say why not; once, as long as the file stays what it is."""
        if isinstance(refusal, SnapshotNotYetValid):
            self._early.add(path)
        said = self._stamps.get(path), type(refusal).__name__
        if self._refused.get(path) != said:
            self._metrics.refused(said[1])
            _log.warning("snapshot refused: %s", refusal)
        self._refused[path] = said
