"""The cluster as it is now: its GPUs by live events, its profile by live timings.

The parts are `cluster_state` (what comes and goes), `calibrating` (how far simulated times are off,
and fitting them) and `staleness` (whether what is live still gains what was promised). Whatever one
of them cannot say is a note, and the cluster file stands in for it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from evolver.daemon.calibrating import Calibrator, Window
from evolver.daemon.protocols import Event, Ground, Stretch
from evolver.daemon.staleness import Staleness, staleness
from sandbox.capacity import Pairing, pair
from sandbox.cluster import ClusterSpec
from sandbox.engine import LoadedPolicy
from sandbox.errors import SandboxError
from sandbox.evidence import Evidence
from sandbox.hardware import differential_error
from sandbox.simulation import Setup
from telemetry.capacity import CapacityTrace
from telemetry.cluster_events import ClusterEvent
from telemetry.cluster_state import LiveCluster
from telemetry.errors import TelemetryError
from telemetry.requests import Requests

MOST_WAITING = 10_000  # events between two turns

Poll = Callable[[LiveCluster, float], Iterable[ClusterEvent]]


@dataclass(frozen=True, slots=True)
class Live:
    """What serves now.

    Attributes:
        digest: of the policy as decisions name it; empty for the built-in default.
        replaced: what was live before it; None for the default.
        evidence: that it was promoted with.
    """

    digest: str
    policy: LoadedPolicy
    replaced: LoadedPolicy | None = None
    evidence: Evidence | None = None


class Serving(Protocol):
    """Says what serves now; see `live_policy.StoredPolicy`."""

    def __call__(self) -> Live:
        """May raise SandboxError where it cannot be loaded."""
        ...


class LiveGrounds:
    """What `Grounds` asks for; `now` belongs to one thread, `take` to any.

    Args:
        calibrator: of the cluster that the file says.
        base: that cluster.
        serving: what serves now.
        requests: that arrived between two moments.
        polls: sources of cluster events, asked in every turn.
        told: hears of every event that was new.
        clock_speed: engine seconds that pass in one second.
    """

    def __init__(
        self,
        base: ClusterSpec,
        calibrator: Calibrator,
        serving: Serving,
        requests: Callable[[float, float], Requests],
        polls: Sequence[Poll] = (),
        told: Callable[[Event], None] = lambda _: None,
        clock_speed: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base, self._calibrator, self._serving = base, calibrator, serving
        self._requests, self._polls, self._told = requests, polls, told
        self._speed, self._clock = clock_speed, clock
        self._waiting: deque[ClusterEvent] = deque(maxlen=MOST_WAITING)
        self._staleness: Staleness | None = None
        self._said: tuple[str, ...] = ()
        self.cluster = LiveCluster()

    def take(self, events: Iterable[ClusterEvent]) -> None:
        """Events of a webhook; the next turn hears them."""
        self._waiting.extend(events)

    def now(self, stretch: Stretch) -> Ground:
        """The cluster over a stretch, checked and refitted where that is due."""
        now = self._clock()
        notes = list(self._hear(now))
        capacity, words = self._capacity(stretch)
        notes += words
        if self._calibrator.is_time(now):
            self._said = tuple(self._look(stretch, capacity, now))
        cluster = self._calibrator.cluster(now)
        standing, stale = cluster.standing, self._staleness
        error = differential_error(cluster)
        if standing is not None:
            notes.append(standing.sentence())
            error = abs(standing.e2e) if standing.e2e is not None else error
        notes += [*self._said, *([stale.reason] if stale is not None else [])]
        return Ground(
            cluster, capacity, error, stale.share if stale is not None else None, tuple(notes)
        )

    def _hear(self, now: float) -> Iterable[str]:
        """Tell the live cluster what happened; what a source could not say."""
        fresh: list[ClusterEvent] = []
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        fresh += self.cluster.take(waiting)
        for poll in self._polls:
            try:
                fresh += poll(self.cluster, now)
            except (TelemetryError, OSError, RuntimeError) as error:
                yield f"A source of cluster events does not answer: {error}"
        for event in fresh:
            what = f"{event.node.name} with {event.node.gpus} {event.node.gpu} is {event.change}."
            self._told(Event(event.unix_s, f"node_{event.change}", what))

    def _capacity(self, stretch: Stretch) -> tuple[Pairing | None, tuple[str, ...]]:
        """What came and went in the stretch, laid on the cluster; None where nothing did."""
        if not self.cluster.nodes(stretch.until_unix_s):
            return None, ()
        try:
            trace = self.cluster.trace(stretch.began_unix_s, stretch.until_unix_s)
            return pairing_of(self._base, trace, self._speed)
        except (TelemetryError, SandboxError) as error:
            return None, (f"What came and went is not simulated: {error}",)

    def _look(self, stretch: Stretch, capacity: Pairing | None, now: float) -> Iterable[str]:
        """Check, refit where that is due, and look for the promised gain."""
        try:
            live = self._serving()
            window = self._window(stretch, capacity, live.digest)
            self._calibrator.check(window, live.policy)
            if reason := self._calibrator.due(now):
                refit = self._calibrator.refit(window, live.policy, now, reason)
                yield f"{reason} A refit was tried. {refit.reason}"
            seen = window.observed()
            setup = Setup(seen.trace, self._calibrator.cluster(now), capacity)
            self._staleness = None
            if live.digest:
                self._staleness = staleness(live.evidence, live.policy, live.replaced, setup, seen)
        except (TelemetryError, SandboxError, ValueError) as error:
            yield f"Predictions were not compared: {error}"

    def _window(self, stretch: Stretch, capacity: Pairing | None, digest: str) -> Window:
        """The requests that what is live now has decided, from its last entry on."""
        began, until = stretch.began_unix_s, stretch.until_unix_s
        requests = self._requests(began, until)
        known = np.array(requests.policies)
        others = np.flatnonzero((known != digest) & (known != "")) if digest else np.zeros(0, int)
        if len(others):
            since = float(requests.arrived_unix_s[others].max())
            requests = requests.take(requests.arrived_unix_s > since)
            if capacity is not None and since > began:
                skipped_s = (since - began) * self._speed
                capacity = capacity.slice(skipped_s, capacity.trace.span_s)
            began = since
        return Window(began, until, requests, capacity, clock_speed=self._speed)


def pairing_of(
    cluster: ClusterSpec, trace: CapacityTrace, speed: float = 1.0
) -> tuple[Pairing | None, tuple[str, ...]]:
    """A live trace laid on the cluster's GPUs; nothing where all of them were there throughout.

    What the events do not name counts as missing: they are all there is to know.

    Raises:
        ClusterError: no pool has such GPUs.
    """
    if len(trace.models) > 1 or len(np.unique(trace.gpus)) > 1 or len(cluster.pool) > 1:
        return None, ("Nodes of several kinds came and went; the cluster file's stand in.",)
    gpus, pool = int(trace.gpus[0]), cluster.pool[0]
    room = pool.most // gpus
    notes = () if trace.nodes <= room else (f"{trace.nodes} nodes were seen, {room} fit.",)
    missing = max(0, room - trace.nodes)
    if not missing and not len(trace.time_s) and trace.initial_up.all():
        return None, notes
    grown: dict[str, Any] = {
        name: np.concatenate([getattr(trace, name), np.repeat(getattr(trace, name)[:1], missing)])
        for name in ("zone", "gpus", "model")
    }
    up = np.concatenate([trace.initial_up, np.zeros(missing, np.bool_)])
    whole = replace(
        trace, **grown, initial_up=up, span_s=trace.span_s * speed, time_s=trace.time_s * speed
    )
    return pair(cluster, whole, f"{pool.gpu}:{gpus}"), notes
