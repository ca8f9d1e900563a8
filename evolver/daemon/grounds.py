"""The cluster that a search simulates: its file, refitted to what is served.

Comparing and refitting simulates, so a process of its own does it, at most once in a while; what it
finds is kept on a shelf of calibrations (`calibrating`), which is read here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from evolver.daemon.calibrating import Calibrator
from evolver.daemon.calibration_shelf import CalibrationShelf
from evolver.daemon.check_order import CheckOrder, found_in, write_order
from evolver.daemon.child import Child
from evolver.daemon.cluster_watch import ClusterWatch
from evolver.daemon.config import DaemonConfig, Watch
from evolver.daemon.protocols import Event, Ground, LivePair, Stretch
from sandbox.capacity import Pairing
from sandbox.cluster import ClusterSpec, load_cluster, with_calibrations
from sandbox.hardware import build_hardware, differential_error
from sandbox.profile_standing import Grade
from telemetry.cluster_events import ClusterEvent

CHECK_S = 900.0  # after which a comparison hangs
LEAVE_S = 5.0


class LiveGround:
    """Belongs to the thread of the turns, apart from `told`.

    Args:
        folder: for calibrations, and for the files of the process that makes them.
        segments: where requests are.
    """

    def __init__(self, config: DaemonConfig, folder: Path, segments: Path) -> None:
        self._config, self._folder, self._segments = config, folder, segments
        self._base = cluster_of(config.watch)
        self._calibrator = Calibrator(CalibrationShelf(folder / "shelf"), self._base)
        self._cluster_watch = ClusterWatch(config.events)
        self._child = Child("evolver.daemon.check_process")
        self._began_unix_s = 0.0
        self._live: str | None = None
        self._found = found_in(folder)

    def poll(self) -> list[Event]:
        """What happened to the cluster."""
        return self._cluster_watch.poll()

    def told(self, events: tuple[ClusterEvent, ...]) -> bool:
        """By the webhook."""
        return self._cluster_watch.told(events)

    def now(self, stretch: Stretch) -> Ground:
        """The cluster as it is calibrated now, and how far that can be believed."""
        cluster = self._calibrator.cluster(stretch.until_unix_s)
        capacity, notes = self._capacity(stretch)
        last = self._calibrator.last()
        known = None if last is None else last.error.error("e2e")
        if cluster.standing is not None and cluster.standing.grade is not Grade.GOOD:
            notes = (*notes, cluster.standing.sentence())
        return Ground(
            cluster, capacity,
            error=differential_error(cluster) if known is None else known,
            stale=self._found.stale if self._found.digest == self._live else "", notes=notes,
        )  # fmt: skip

    def tend(self, stretch: Stretch, live: LivePair) -> str:
        """Hear what the last comparison came to, and begin another one when it is time."""
        self._live = live.digest
        if self._child.ended() is not None:
            self._found = found_in(self._folder)
            return self._found.said
        every_s = self._config.calibrate.every_s
        due = every_s > 0.0 and abs(stretch.until_unix_s - self._began_unix_s) >= every_s
        enough = len(stretch.trace) >= self._config.watch.least_requests
        if due and enough and stretch.requests is not None and not self._child.runs:
            self._began_unix_s = stretch.until_unix_s
            write_order(self._folder, self._order(stretch, live))
            self._child.start(self._folder, CHECK_S)
        return ""

    def rest(self) -> None:
        """End what compares; nothing of it is lost but its time."""
        self._child.stop(LEAVE_S)

    def close(self) -> None:
        """End what listens, too."""
        self.rest()
        self._cluster_watch.close()

    def _order(self, stretch: Stretch, live: LivePair) -> CheckOrder:
        return CheckOrder(
            cluster=self._base,
            shelf=self._folder / "shelf",
            segments=self._segments,
            since_unix_s=stretch.began_unix_s,
            until_unix_s=stretch.until_unix_s,
            clock_speed=self._config.watch.clock_speed,
            nice=self._config.run.nice,
            digest=live.digest,
            text=live.text,
            before=live.before,
            evidence=None if live.evidence is None else dict(live.evidence),
        )

    def _capacity(self, stretch: Stretch) -> tuple[Pairing | None, tuple[str, ...]]:
        """What came and went, in engine seconds, where it is said what one node is."""
        if self._config.events.node is None:
            return None, ()
        found, why = self._cluster_watch.pairing(
            self._base, stretch.began_unix_s, stretch.until_unix_s
        )
        speed = self._config.watch.clock_speed
        if found is not None and speed != 1.0:
            trace = replace(
                found.trace, time_s=found.trace.time_s * speed, span_s=found.trace.span_s * speed
            )
            found = replace(found, trace=trace)
        return found, (why,) if why else ()


def cluster_of(watch: Watch) -> ClusterSpec:
    """The cluster that a configuration names.

    Raises:
        SandboxError: there is none, or it cannot be.
    """
    spec = load_cluster(watch.cluster)
    if watch.calibration:
        spec = with_calibrations(spec, Path(), tuple(str(path) for path in watch.calibration))
    if watch.signals is not None:
        spec = spec.seen_by(watch.signals)
    return spec


def usd_per_hour(cluster: ClusterSpec) -> float:
    """What the GPUs cost that are there at the beginning."""
    usual = build_hardware(cluster).pools["price"]
    prices = (
        pool.price_usd_per_hour if pool.price_usd_per_hour is not None else float(price)
        for pool, price in zip(cluster.pool, usual, strict=True)
    )
    return sum(pool.count * price for pool, price in zip(cluster.pool, prices, strict=True))
