"""The nodes of a Ray cluster and their GPUs, as a source of cluster events.

Ray is asked for its table of nodes; what is no longer alive has gone, or failed where nobody ended
it. Ray does not list nodes that are about to be taken: a notice comes by file or webhook. Needs the
extra `ray`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from telemetry.cluster_events import Change, ClusterEvent, Node, plain_node
from telemetry.cluster_state import LiveCluster

SOURCE = "ray"
MOST_ROWS = 20_000
_ENDED = frozenset(  # reasons of a death that somebody wanted, as numbers and as names
    {1, 3, 4, "EXPECTED_TERMINATION", "AUTOSCALER_DRAIN_PREEMPTED", "AUTOSCALER_DRAIN_IDLE"}
)
_TYPE = re.compile(r"accelerator_type:([A-Za-z0-9-]{1,32})", re.ASCII)
_ZONES = ("ray.io/availability-zone", "topology.kubernetes.io/zone")

Rows = Sequence[Any]


class RayNodes:
    """Asks for the nodes of a cluster, and tells a live cluster what came of them.

    Args:
        rows: gives what `ray.nodes()` gives.
        clock: wall-clock seconds.
    """

    def __init__(self, rows: Callable[[], Rows], clock: Callable[[], float] = time.time) -> None:
        self._rows = rows
        self._clock = clock

    @classmethod
    def at(cls, address: str) -> RayNodes:
        """The cluster at an address.

        Raises:
            sandbox.worker.WorkersUnavailable: Ray is not installed, or no cluster answers there.
        """
        from evolver.ray_cluster import connect

        ray, _ = connect(address)
        return cls(ray.nodes)

    def poll(self, cluster: LiveCluster) -> tuple[ClusterEvent, ...]:
        """Look once; what is new."""
        now = self._clock()
        rows = [row for row in self._rows()[:MOST_ROWS] if isinstance(row, Mapping)]
        nodes = [node for row in rows if row.get("Alive") and (node := _node(row)) is not None]
        ended = [
            ClusterEvent(now, Change.GONE, node)
            for row in rows
            if not row.get("Alive") and row.get("DeathReason") in _ENDED
            and (node := _known(row, cluster, now)) is not None
        ]  # fmt: skip
        return cluster.take(ended, SOURCE) + cluster.see(SOURCE, nodes, now)


def _node(row: Mapping[str, Any]) -> Node | None:
    """The node of a row; None for one without GPUs."""
    resources, labels = row.get("Resources"), row.get("Labels")
    resources = resources if isinstance(resources, Mapping) else {}
    labels = labels if isinstance(labels, Mapping) else {}
    gpus = resources.get("GPU", 0)
    if isinstance(gpus, bool) or not isinstance(gpus, int | float) or not 1 <= gpus < 2**20:
        return None
    kinds = (_TYPE.fullmatch(str(name)[:64]) for name in resources)
    gpu = next((match[1] for match in kinds if match is not None), "any")
    zone = next((labels[name] for name in _ZONES if name in labels), "")
    return plain_node(row.get("NodeID"), int(gpus), gpu, zone)


def _known(row: Mapping[str, Any], cluster: LiveCluster, now: float) -> Node | None:
    """The node of a dead row, if it counted until now; Ray no longer says what it had."""
    name = row.get("NodeID")
    return next((e.node for e in cluster.nodes(now) if e.node.name == name), None)
