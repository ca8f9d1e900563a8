"""The cluster that a search simulates: the file that says so, as its door sees it."""

from __future__ import annotations

from pathlib import Path

from evolver.daemon.config import Watch
from evolver.daemon.protocols import Ground, Stretch
from sandbox.cluster import ClusterSpec, load_cluster, with_calibrations
from sandbox.hardware import build_hardware, differential_error


class ClusterFile:
    """What a file says, whatever happens."""

    def __init__(self, watch: Watch) -> None:
        self.cluster = cluster_of(watch)

    def now(self, stretch: Stretch) -> Ground:
        """The file's cluster."""
        del stretch
        return Ground(self.cluster, error=differential_error(self.cluster))


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
