"""What decides now, and the one place where it changes: going live, ejection, latch, kill switch.

A decision reads `LiveSlot.live` and `LiveSlot.off` once each and takes no lock. Changes come from
the event loop, from the watchdog's thread and from other processes of the host, under one lock; an
ejection names the policy it means, so it can never hit a successor.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable

from serving_adapter.activation import Ready
from serving_adapter.errors import SnapshotRefused
from serving_adapter.host_metrics import HostMetrics
from serving_adapter.live import Live
from serving_adapter.safety.ejection import MAX_REASON_CHARS, Ejection, EjectionKind
from serving_adapter.safety.latches import LatchFolder

PENDING_EJECTIONS = 64
RETRY_S = 1.0

_log = logging.getLogger("evolver.host")


class LiveSlot:
    """Holds `Live`, and takes policies out of it for good.

    Attributes:
        live: what decides; read it once per decision.
        enable_seq: how often an active policy went live.
        number: of the latest decision.
        pending: ejections whose dump is still to be written.
    """

    def __init__(
        self,
        metrics: HostMetrics,
        on_ejection: Callable[[Ejection], None],
        latches: LatchFolder | None,
    ) -> None:
        self.live = Live()
        self.enable_seq = 0
        self.number = 0
        self.pending: deque[Ejection] = deque(maxlen=PENDING_EJECTIONS)
        self._metrics = metrics
        self._on_ejection = on_ejection
        self._latches = latches
        self._lock = threading.RLock()
        self._latched: dict[str, Ejection] = {}
        self._on_disk: frozenset[str] = frozenset()
        self._kill: str | None = None
        self._kill_on_disk = self._kill_noted = False
        self._failed_s = -math.inf
        self._stale = False
        self.look()

    @property
    def off(self) -> EjectionKind | None:
        """Why no policy is asked at all at present, whatever is live; None when they are."""
        if self._kill is not None:
            return EjectionKind.OPERATOR
        return EjectionKind.STALE if self._stale else None

    @property
    def latched(self) -> tuple[Ejection, ...]:
        """The policies that are kept out, and why."""
        return tuple(self._latched.values())

    def is_latched(self, digest: str) -> bool:
        """Whether this policy may not decide on this host."""
        return digest in self._latched

    def allowed(self, live: Live) -> Live:
        """What is left of what was live before, without whatever has been ejected since."""
        return live.without(self._latched) if self._latched else live

    def assign(self, live: Live) -> Live:
        """Put `live` in place, without what is latched; what is in place now.

        Raises:
            SnapshotRefused: its sequence is below the present one.
        """
        self.look()
        with self._lock:
            before = self.live
            if live.sequence < before.sequence:
                raise SnapshotRefused(
                    f"Sequence {live.sequence} is below {before.sequence}, which runs: have the "
                    "store issue a new one."
                )
            self.live = live.without(self._latched)
            self.enable_seq += self.live.active not in (None, before.active)
            self.show()
            return self.live

    def eject(self, ready: Ready, kind: EjectionKind, reason: str) -> bool:
        """Take a policy out at once and keep it out; False when it is not in place any more."""
        with self._lock:
            if all(ready is not one for one in self.live.policies):
                return False
            ejection = self._ejection(kind, reason, ready.digest)
            self._latched.setdefault(ready.digest, ejection)
            self._write(ejection)
            self.live = self.live.without(self._latched)
        self._noted(ejection)
        return True

    def kill(self, reason: str) -> None:
        """No policy decides from now on. Takes no lock and no disk, so a signal handler may."""
        self._kill = self._kill or reason

    def set_stale(self, stale: bool, reason: str = "") -> None:
        """Signals are too old for any policy, or fresh again."""
        if stale == self._stale:
            return
        self._stale = stale
        self.show()
        if stale:
            self._noted(self._ejection(EjectionKind.STALE, reason, self.live.digest))

    def look(self) -> bool:
        """Follow the files of this host; whether a person has let something back in."""
        with self._lock:
            lifted = self._follow_kill() + self._follow_latches()
            killed = self._kill if self._kill is not None and not self._kill_noted else None
            self._kill_noted = self._kill is not None
        if killed is not None:
            self._noted(self._ejection(EjectionKind.OPERATOR, killed, self.live.digest))
        if lifted:
            self.show()
        return lifted > 0

    def _follow_kill(self) -> int:
        """Make the kill switch one and the same here and on disk; 1 when it was released."""
        if self._latches is None:
            return 0
        on_disk = self._latches.killed
        released = self._kill_on_disk and not on_disk
        if released:
            self._kill = None
        elif on_disk and self._kill is None:
            self._kill = "the kill file is there"
        if self._kill is not None and not on_disk and self._may_write():
            on_disk = self._latches.kill(self._kill)
            self._failed_s = -math.inf if on_disk else time.monotonic()
        self._kill_on_disk = on_disk
        return released

    def _follow_latches(self) -> int:
        """Make the latches one and the same here and on disk; how many were lifted."""
        found = self._latches.digests() if self._latches is not None else None
        if self._latches is None or found is None:
            return 0
        gone = self._on_disk - found
        for digest in gone:
            self._latched.pop(digest, None)
        for digest in found - self._latched.keys():
            self._latched[digest] = self._latches.read(digest)
        changed = found != self._on_disk
        self._on_disk = found
        for digest in self._latched.keys() - found:
            if self._may_write():
                self._write(self._latched[digest])
        if changed:
            self.live = self.live.without(self._latched)
            self.show()
        return len(gone)

    def _may_write(self) -> bool:
        """A disk that failed is asked again once a second."""
        return time.monotonic() - self._failed_s > RETRY_S

    def sync(self) -> None:
        """Have the disk hold the latches; slow."""
        if self._latches is not None:
            self._latches.sync()

    def show(self) -> None:
        """Bring the metrics up to date; whoever shows last has seen the last change."""
        with self._lock:
            live = self.live
            self._metrics.stands(
                live.sequence, live.digest, len(self._latched), self.off, self.enable_seq
            )

    def _write(self, ejection: Ejection) -> None:
        if self._latches is None:
            return
        if self._latches.write(ejection):
            self._on_disk |= {ejection.digest}
        else:
            self._failed_s = time.monotonic()

    def _ejection(self, kind: EjectionKind, reason: str, digest: str) -> Ejection:
        return Ejection(
            kind=kind,
            reason=reason[:MAX_REASON_CHARS],
            digest=digest,
            sequence=self.live.sequence,
            number=self.number,
            enable_seq=self.enable_seq,
            unix_s=time.time(),
        )

    def _noted(self, ejection: Ejection) -> None:
        self.pending.append(ejection)
        self._metrics.ejected(ejection.kind)
        self.show()
        digest, kind = ejection.digest[:12], ejection.kind
        _log.error("policy %s ejected: %s, %s", digest, kind, ejection.reason)
        self._on_ejection(ejection)
