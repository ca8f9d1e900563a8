"""What would have happened: the last hour of a gateway's log, replayed beside the active policy.

One at a time in the background, a few may wait. Both policies run in locked-down workers; what is
seen is kept beside the policy's evidence and proves nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from policy_store.errors import StoreError
from policy_store.records import Alias, Kind
from policy_store.review.submission import Busy
from policy_store.store import PolicyStore
from sandbox.errors import SandboxError
from telemetry.errors import TelemetryError

if TYPE_CHECKING:
    from sandbox.close_up_worker import Shown
    from sandbox.cluster import ClusterSpec
    from sandbox.scenario import Scenario
    from telemetry.trace import Trace

HOUR_S, WARMUP_S = 3600.0, 300.0
MOST_REQUESTS = 200_000
FEWEST_REQUESTS = 20
MOST_WAITING = 4
MOST_KEPT = 100  # states of what was done, for pages
DEADLINE_S = 120.0
NAME = "last-hour"
_log = logging.getLogger("evolver.review")


@dataclass(frozen=True, slots=True)
class Recent:
    """What a gateway recorded last, and on what it is replayed.

    Attributes:
        began_at: when second 0 of the trace was.
    """

    trace: Trace
    cluster: ClusterSpec
    began_at: datetime


class Stage(StrEnum):
    """How far a replay is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of the replay of one policy; `sentence` says why it failed."""

    stage: Stage
    since: datetime
    sentence: str = ""

    @property
    def goes_on(self) -> bool:
        """Whether there is something to wait for."""
        return self.stage in (Stage.WAITING, Stage.RUNNING)


def recent_of(log: Path, cluster: str) -> Callable[[], Recent | None]:
    """Reads the end of a gateway's request log each time, for a cluster by name or file.

    Raises:
        ClusterError: there is no such cluster.
    """
    from sandbox.cluster import load_cluster
    from telemetry.readers.gateway_tail import read_last

    spec = load_cluster(cluster)

    def read() -> Recent | None:
        if not log.is_file():
            return None
        last = read_last(log, HOUR_S + WARMUP_S)
        return Recent(last.trace, spec, last.began_at)

    return read


class LastHours:
    """The replays of one review page; safe to use from many threads."""

    def __init__(
        self,
        store: PolicyStore,
        deployment: str,
        recent: Callable[[], Recent | None],
    ) -> None:
        self._store, self._deployment, self._recent = store, deployment, recent
        self._lock = threading.Lock()
        self._states: OrderedDict[str, Progress] = OrderedDict()
        self._waiting: OrderedDict[str, str] = OrderedDict()  # who asked, by policy
        self._thread: threading.Thread | None = None
        self._closed = False

    def progress(self, policy: str) -> Progress | None:
        """How far the replay of a policy is; None when nobody asked for one lately."""
        with self._lock:
            return self._states.get(policy)

    def start(self, policy: str, by: str) -> None:
        """Have a policy replayed soon; asked for again while it waits or runs, it is done once.

        Raises:
            Busy: too many wait.
        """
        with self._lock:
            state = self._states.get(policy)
            if state is not None and state.goes_on:
                return
            if self._closed or len(self._waiting) >= MOST_WAITING:
                raise Busy("Other replays wait already: try again in a minute.")
            self._waiting[policy] = by
            self._note(policy, Stage.WAITING)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="last-hour", daemon=True)
                self._thread.start()

    def close(self, within_s: float = 5.0) -> None:
        """Begin nothing more, and wait a moment for what runs."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            thread = self._thread
        if thread is not None:
            thread.join(within_s)

    def _note(self, policy: str, stage: Stage, sentence: str = "") -> None:
        self._states[policy] = Progress(stage, datetime.now(UTC), sentence)
        self._states.move_to_end(policy)
        while len(self._states) > MOST_KEPT:
            self._states.popitem(last=False)

    def _work(self) -> None:
        """Work off what waits, then end."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                policy, by = self._waiting.popitem(last=False)
                self._note(policy, Stage.RUNNING)
            stage, sentence = self._tried(policy, by)
            with self._lock:
                self._note(policy, stage, sentence)

    def _tried(self, policy: str, by: str) -> tuple[Stage, str]:
        began_s = time.monotonic()
        try:
            self._look(policy, by)
        except (SandboxError, StoreError, TelemetryError) as refused:
            return Stage.FAILED, str(refused)
        except Exception:
            _log.exception("the last hour under %s was not replayed", policy[:12])
            return Stage.FAILED, "It failed in a way that nobody foresaw: see the page's log."
        return Stage.DONE, f"It took {time.monotonic() - began_s:.1f} s."

    def _look(self, policy: str, by: str) -> None:
        from sandbox.close_up import Why
        from sandbox.close_up_worker import CloseUpFailed, Look, look_closely

        recent = self._recent()
        if recent is None or len(recent.trace) < FEWEST_REQUESTS:
            raise CloseUpFailed(
                f"The log holds fewer than {FEWEST_REQUESTS} requests of the last hour: serve "
                "some, then try again."
            )
        candidate = shown(self._store, policy)
        active = shown(self._store, self._store.slot(Alias.ACTIVE, self._deployment).digest)
        look = Look(scenario_of(recent), Why.LAST_HOUR)
        seen = look_closely([look], candidate, active, deadline_s=DEADLINE_S)
        if not self._closed:
            self._store.attach_evidence(policy, seen.document(), by, Kind.LAST_HOUR)


def scenario_of(recent: Recent) -> Scenario:
    """The last hour as a window, at its own rate; its seconds are counted from 1970.

    Of more requests than are simulated in reasonable time the last ones are taken.
    """
    from sandbox.scenario import Scenario

    trace, began_s = recent.trace, recent.began_at.timestamp()
    if len(trace) > MOST_REQUESTS:
        skipped_s = float(trace.arrival_s[-MOST_REQUESTS])
        trace, began_s = trace.slice(skipped_s, trace.span_s), began_s + skipped_s
    warmup_s = min(WARMUP_S, 0.1 * trace.span_s)
    return Scenario(
        NAME, trace, recent.cluster, None, warmup_s, 0, "open",
        began_s + warmup_s, began_s + trace.span_s,
    )  # fmt: skip


def shown(store: PolicyStore, digest: str | None) -> Shown:
    """A stored policy, or the built-in default, as what a worker runs."""
    from sandbox.close_up_worker import Shown
    from sandbox.policies import default_source
    from sandbox.scores import Candidate

    if digest is None:
        source = default_source()
        return Shown(Candidate(source.canonical), source.digest())
    details = store.show(digest)
    return Shown(Candidate(details.source.text, details.version.parameters), digest)
