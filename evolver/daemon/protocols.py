"""What the daemon stands on: where windows come from, what a cluster is now, who searches.

The core knows these protocols only. `parts` puts the usual ones together; a test, or a fleet on
simulated time, brings its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from evolver.daemon.job import Job
from sandbox.capacity import Pairing
from sandbox.cluster import ClusterSpec
from telemetry.cluster_events import ClusterEvent
from telemetry.requests import Requests
from telemetry.trace import Trace


@dataclass(frozen=True, slots=True)
class Stretch:
    """Requests that were observed.

    Attributes:
        trace: in engine seconds from its beginning.
        began_unix_s, until_unix_s: on the wall clock.
        e2e_s: mean end-to-end time on the wall clock; 0 when nobody knows.
        notes: sentences for people.
        requests: as they were logged; None where nobody has them.
    """

    trace: Trace
    began_unix_s: float
    until_unix_s: float
    e2e_s: float = 0.0
    notes: tuple[str, ...] = ()
    requests: Requests | None = None

    @property
    def span_s(self) -> float:
        """On the wall clock."""
        return self.until_unix_s - self.began_unix_s


@dataclass(frozen=True, slots=True)
class Ground:
    """The cluster as a search has to simulate it.

    Attributes:
        error: of predicted times against observed ones, as a share; None when nobody measured.
        stale: why the live policy no longer keeps what its evidence promised; empty when it does.
        notes: sentences for people, such as why the profile is a poor one.
    """

    cluster: ClusterSpec
    capacity: Pairing | None = None
    error: float | None = None
    stale: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """Whether the traffic is another than it was at the last search.

    Attributes:
        units: distance from then; None when there is nothing to compare with.
        changed: it is another regime.
        reason: in a sentence.
        since_unix_s: when it began to be another; None when nobody knows.
    """

    units: float | None
    changed: bool
    reason: str
    since_unix_s: float | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How the process of a search ended.

    Attributes:
        fault: a sentence; empty when it did its work.
        hopeless: trying again leads nowhere.
    """

    fault: str = ""
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to the cluster; for the audit log and the next decision."""

    at_unix_s: float
    kind: str
    what: str
    facts: Mapping[str, float | str] = field(default_factory=dict)


class Windows(Protocol):
    """Where the requests of the last hour come from."""

    def collect(self, now_unix_s: float) -> None:
        """Take in what is new; may fail, and is asked again."""
        ...

    def last(self, span_s: float, now_unix_s: float) -> Stretch | None:
        """What arrived in the last seconds; None when there is nothing.

        Raises:
            TelemetryError: what is there cannot be read.
        """
        ...

    def close(self) -> None:
        """Let go of what only one process may hold."""
        ...


@dataclass(frozen=True, slots=True)
class LivePair:
    """What is live, and what it replaced.

    Attributes:
        digest: of the live policy; None for the built-in default.
        text, before: their texts.
        evidence: the latest document about the live one; None without any.
    """

    digest: str | None
    text: str
    before: str
    evidence: Mapping[str, object] | None = None


class Grounds(Protocol):
    """What the cluster is now: GPUs that come and go, a profile fitted to live timings."""

    def poll(self) -> list[Event]:
        """What happened since the last poll."""
        ...

    def told(self, events: tuple[ClusterEvent, ...]) -> bool:
        """Somebody says what happened; from any thread. False: there is no room."""
        ...

    def now(self, stretch: Stretch) -> Ground:
        """The cluster over a stretch of traffic."""
        ...

    def tend(self, stretch: Stretch, live: LivePair) -> str:
        """Compare and refit in the background when it is time; what came of it, in a sentence."""
        ...

    def rest(self) -> None:
        """End what runs, and go on listening: another one leads."""
        ...

    def close(self) -> None:
        """End what runs and what listens, for good."""
        ...


class Shift(Protocol):
    """Tells whether traffic has changed."""

    def see(self, stretch: Stretch) -> None:
        """Look at what arrived since the last time."""
        ...

    def features(self, stretch: Stretch, ground: Ground) -> Mapping[str, float]:
        """What a stretch is like, in numbers to keep."""
        ...

    def change(
        self, before: Mapping[str, float], after: Mapping[str, float], searched_unix_s: float
    ) -> Change:
        """Whether it is another than before; the last search saw all up to `searched_unix_s`."""
        ...


class Searches(Protocol):
    """Runs one evolution at a time, in a process of its own that may be killed at any moment."""

    def ensure(self, job: Job, folder: Path) -> None:
        """Have it run; nothing happens while it does."""
        ...

    def ended(self, folder: Path) -> Ended | None:
        """How the one on this folder ended, once; None while it runs or when none was started."""
        ...

    def stop(self, within_s: float) -> None:
        """End it; what it has done stays, and it can go on."""
        ...


class Publisher(Protocol):
    """Has the file that hosts follow say what the store says."""

    def __call__(self) -> bool:
        """True when something was written.

        Raises:
            StoreError: it cannot be signed or written.
        """
        ...
