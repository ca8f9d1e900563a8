"""Pairs a capacity trace with a cluster: which node of the file is which GPUs, and when.

The pairing is always explicit: one node of the file stands for a number of GPUs of one type. Nodes
are laid on the pool in file order until its GPUs are used up; GPUs without a node stay present.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sandbox.cluster import ClusterError, ClusterSpec
from sandbox.kernel import state
from sandbox.kernel.state import ANNOUNCE, DOWN, PS_PER_S, UP
from sandbox.profiles import load_gpu
from telemetry.capacity import CapacityTrace, as_availability


@dataclass(frozen=True, slots=True)
class Pairing:
    """One node of `trace` is `gpus_per_node` GPUs of the pool with this GPU type."""

    trace: CapacityTrace
    pool: int
    gpus_per_node: int

    def slice(self, start_s: float, stop_s: float) -> Pairing:
        """The same pairing over a stretch of the capacity trace."""
        return replace(self, trace=self.trace.slice(start_s, stop_s))

    def describe(self, cluster: ClusterSpec) -> str:
        """One sentence for people: what is paired with what."""
        spec = cluster.pool[self.pool]
        nodes = min(self.trace.nodes, spec.count // self.gpus_per_node)
        return (
            f"{nodes} of the {self.trace.nodes} nodes of {self.trace.meta.name} are "
            f"{self.gpus_per_node} x {spec.gpu} each; "
            f"{spec.count - nodes * self.gpus_per_node} of {spec.count} {spec.gpu} always stay"
        )


def pair(cluster: ClusterSpec, trace: CapacityTrace, node: str | None = None) -> Pairing:
    """Pair by `GPU:COUNT`; without it one node is one GPU of the first spot pool, else the first.

    Raises:
        ClusterError: the cluster has no pool of that GPU type, or the count does not fit it.
    """
    available = as_availability(trace)
    if node is None:
        spot = [k for k, spec in enumerate(cluster.pool) if spec.spot]
        return Pairing(available, spot[0] if spot else 0, 1)
    gpu, _, text = node.partition(":")
    count = int(text) if text.isdecimal() and len(text) < 4 else 0
    for k, spec in enumerate(cluster.pool):
        if load_gpu(spec.gpu).name == load_gpu(gpu).name and 1 <= count <= spec.count:
            return Pairing(available, k, count)
    pools = ", ".join(f"{spec.count} x {spec.gpu}" for spec in cluster.pool)
    raise ClusterError(
        f"A node cannot be {node!r} here; write GPU:COUNT within the cluster's pools ({pools})."
    )


def _ps(seconds: float) -> int:
    return round(seconds * PS_PER_S)


def capacity_rows(
    pairing: Pairing | None, gpus: state.Rows, stop_s: float, grace_s: float
) -> state.Rows:
    """Kernel events of a pairing, ascending; GPUs that are missing at the start are taken away.

    A loss is announced `grace_s` before it, or when its GPU comes if it stays for less.
    """
    if pairing is None:
        return np.zeros(0, state.CAPACITY_EVENT)
    trace, per_node = pairing.trace, pairing.gpus_per_node
    mine = np.flatnonzero(gpus["pool"] == pairing.pool)
    nodes = min(trace.nodes, len(mine) // per_node)
    for k in np.flatnonzero(~trace.initial_up[:nodes]):
        gpus["present"][mine[k * per_node : (k + 1) * per_node]] = False
    rows, since = [], np.zeros(nodes)
    wanted = (trace.node < nodes) & (trace.time_s <= stop_s)
    for t, k, up in zip(trace.time_s[wanted], trace.node[wanted], trace.up[wanted], strict=True):
        notice_s = max(float(t) - grace_s, float(since[k]))
        since[k] = t
        for gpu in mine[k * per_node : (k + 1) * per_node]:
            if not up and notice_s < t:
                rows.append((_ps(notice_s), gpu, ANNOUNCE, _ps(float(t))))
            rows.append((_ps(float(t)), gpu, UP if up else DOWN, 0))
    rows.sort(key=lambda row: (row[0], row[1]))
    return np.array(rows, state.CAPACITY_EVENT)
