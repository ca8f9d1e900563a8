"""Pairs a capacity trace with a cluster: which node of the file is which GPUs, and when.

The pairing is always explicit: one node of the file stands for a number of GPUs, of one pool, or of
the pools in the zone that has the node's zone code. Nodes are laid on them in file order until the
GPUs are used up; GPUs without a node stay present.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sandbox.cluster import ClusterError, ClusterSpec
from sandbox.kernel import state
from sandbox.kernel.state import ANNOUNCE, DOWN, FAIL, PS_PER_S, UP
from sandbox.profiles import load_gpu
from telemetry.capacity import CapacityTrace, as_availability


@dataclass(frozen=True, slots=True)
class Pairing:
    """One node of `trace` is `gpus_per_node` GPUs.

    Attributes:
        pool: where the nodes stand; None: each in the pools of its own zone code.
        notice: True announces every loss, False none; None does as the trace says.
    """

    trace: CapacityTrace
    pool: int | None
    gpus_per_node: int
    notice: bool | None = None

    def slice(self, start_s: float, stop_s: float) -> Pairing:
        """The same pairing over a stretch of the capacity trace."""
        return replace(self, trace=self.trace.slice(start_s, stop_s))

    def describe(self, cluster: ClusterSpec) -> str:
        """One sentence for people: what is paired with what."""
        owner = np.repeat(np.arange(len(cluster.pool)), [spec.most for spec in cluster.pool])
        zones = np.array([spec.zone for spec in cluster.pool])
        nodes = sum(len(mine) > 0 for mine in _layout(self, owner, zones))
        gpu, total = "GPUs of their zone", len(owner)
        if self.pool is not None:
            gpu, total = cluster.pool[self.pool].gpu, cluster.pool[self.pool].most
        stay = total - nodes * self.gpus_per_node
        return (
            f"{nodes} of the {self.trace.nodes} nodes of {self.trace.meta.name} are "
            f"{self.gpus_per_node} x {gpu} each; "
            f"{stay} of {total} {'GPUs' if self.pool is None else gpu} always stay"
        )


def pair(cluster: ClusterSpec, trace: CapacityTrace, node: str | None = None) -> Pairing:
    """Pair by `GPU:COUNT`; without it one node is one GPU of the first spot pool, else the first.

    `zone:COUNT` lays each node on the pools of the zone that has its zone code, so that the loss
    of a zone takes all that stands there.

    Raises:
        ClusterError: the cluster has no pool of that GPU type, or the count does not fit it.
    """
    available = as_availability(trace)
    if node is None:
        spot = [k for k, spec in enumerate(cluster.pool) if spec.spot]
        return Pairing(available, spot[0] if spot else 0, 1)
    gpu, _, text = node.partition(":")
    count = int(text) if text.isdecimal() and len(text) < 4 else 0
    if gpu == "zone" and 1 <= count <= sum(spec.most for spec in cluster.pool):
        return Pairing(available, None, count)
    for k, spec in enumerate(cluster.pool if gpu != "zone" else ()):
        if load_gpu(spec.gpu).name == load_gpu(gpu).name and 1 <= count <= spec.most:
            return Pairing(available, k, count)
    pools = ", ".join(f"{spec.count} x {spec.gpu}" for spec in cluster.pool)
    raise ClusterError(
        f"A node cannot be {node!r} here; write GPU:COUNT within the cluster's pools ({pools}), or "
        "zone:COUNT."
    )


def _layout(
    pairing: Pairing, owner: NDArray[np.integer], zones: NDArray[np.integer]
) -> list[NDArray[np.int64]]:
    """GPUs of every node, none for nodes that find no room; `owner` is each GPU's pool."""
    taken: dict[int, int] = {}
    found = []
    for zone in pairing.trace.zone:
        group = -1 if pairing.pool is not None else int(zone)
        where = owner == pairing.pool if pairing.pool is not None else zones[owner] == zone
        mine, first = np.flatnonzero(where), taken.get(group, 0)
        fits = first + pairing.gpus_per_node <= len(mine)
        taken[group] = first + pairing.gpus_per_node if fits else len(mine) + 1
        found.append(mine[first : first + pairing.gpus_per_node] if fits else mine[:0])
    return found


def _ps(seconds: float) -> int:
    return round(seconds * PS_PER_S)


def capacity_rows(
    pairing: Pairing | None, pools: state.Rows, gpus: state.Rows, stop_s: float, grace_s: float
) -> state.Rows:
    """Kernel events of a pairing, ascending; GPUs that are missing at the start are taken away.

    A loss is announced `grace_s` before it, or when its GPU comes if it stays for less; one without
    notice is a failure.
    """
    if pairing is None:
        return np.zeros(0, state.CAPACITY_EVENT)
    trace = pairing.trace
    nodes = _layout(pairing, gpus["pool"], pools["zone"])
    for k in np.flatnonzero(~trace.initial_up):
        gpus["present"][nodes[k]] = gpus["offered"][nodes[k]] = False
    rows, since = [], np.zeros(trace.nodes)
    sudden = trace.unannounced if pairing.notice is None else np.full(len(trace.up), False)
    if pairing.notice is False:
        sudden = ~trace.up
    upto = int(np.searchsorted(trace.time_s, stop_s, side="right"))
    for t, k, up, fails in zip(
        trace.time_s[:upto].tolist(), trace.node[:upto], trace.up[:upto], sudden[:upto], strict=True
    ):
        notice_s = t if fails or up else max(t - grace_s, float(since[k]))
        what = UP if up else FAIL if fails else DOWN
        since[k] = t
        for gpu in nodes[k]:
            if notice_s < t:
                rows.append((_ps(notice_s), gpu, ANNOUNCE, _ps(t)))
            rows.append((_ps(t), gpu, what, 0))
    rows.sort(key=lambda row: (row[0], row[1]))
    return np.array(rows, state.CAPACITY_EVENT)
