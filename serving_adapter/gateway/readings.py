"""What one process in front of engines can tell a planner: its tally, and the engines' table.

    readings = DoorReadings(gateway.visits, cluster)
    thread = PlannerThread(settings, lambda: readings.latest)
    async with in_background(readings.run(period_s)): ...

Readings are taken on the door's own loop; a planner in a thread of its own takes the newest.
"""

from __future__ import annotations

import asyncio
import math

import numpy as np

from sandbox.cluster import ClusterSpec
from serving_adapter.gateway.visits import Visits
from serving_adapter.planning.cluster_rows import ClusterRows
from serving_adapter.planning.planner import Reading
from serving_adapter.planning.wanted import ReplicaReading


class DoorReadings:
    """Readings of one door.

    Engines that were declared nothing of count as replicas of the cluster's first pool, TP 1, PP 1.

    Attributes:
        latest: the newest; None before the first.
    """

    def __init__(self, visits: Visits, cluster: ClusterSpec) -> None:
        self.latest: Reading | None = None
        self._visits = visits
        self._cluster = ClusterRows(cluster)
        self._preempted = 0

    async def run(self, period_s: float) -> None:
        """Read for ever; cancel to stop."""
        while True:
            self.latest = self.read()
            await asyncio.sleep(period_s)

    def read(self) -> Reading:
        """How things stand now; on the door's loop."""
        visits = self._visits
        now_s, table = visits.host.now_s(), visits.host.table
        if table.preempted >= 0:
            visits.tally.preempted(table.preempted - self._preempted)
            self._preempted = table.preempted
        rows = table.open_rows(now_s)
        waiting = rows["queued_requests"]
        known = bool((waiting >= 0).all())
        return Reading(
            now_s=now_s,
            sums=visits.tally.sums,
            replicas=tuple(self._replica(row) for row in rows),
            queued_requests=int(waiting.sum()) + len(visits.holding) if known else -1,
        )

    def _replica(self, row: np.void) -> ReplicaReading:
        used, capacity = int(row["kv_used_tokens"]), int(row["kv_capacity_tokens"])
        place = (int(row[name]) for name in ("pool", "tp", "pp", "role"))
        return ReplicaReading(
            spec=self._cluster.spec_of(*place),
            instance=int(row["id"]),
            queued_requests=int(row["queued_requests"]),
            running_requests=int(row["running_requests"]),
            kv_used=used / capacity if used >= 0 and capacity > 0 else math.nan,
        )
