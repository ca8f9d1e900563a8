"""What planners are told of a cluster file at the start: its constants, and the plan it names."""

from __future__ import annotations

import numpy as np

from sandbox import contract
from sandbox.classes import show_promises
from sandbox.cluster import ClusterSpec
from sandbox.hardware import Hardware
from sandbox.kernel import state


def fill_cluster(sim: state.Sim, hardware: Hardware, cluster: ClusterSpec) -> None:
    """The constant part of the contract's Cluster record."""
    row = sim.cluster[0]
    row["weight_bytes"], row["kv_bytes_per_token"] = hardware.weight_bytes, hardware.kv_bytes
    row["monitoring_s"] = cluster.tick.monitoring_s
    row["max_num_seqs"] = cluster.engine.max_num_seqs
    show_promises(row, cluster)
    for pool, spec in zip(hardware.pools, row["pools"], strict=False):
        for name in ("gpu_type", "node_size", "zone", "spot"):
            spec[name] = pool[name]
        spec["price_usd_per_hour"], spec["memory_bytes"] = pool["price"], pool["memory"]
        spec["flops"], spec["bandwidth_bytes_per_s"] = pool["flops"], pool["bandwidth"]
        spec["link_bytes_per_s"], spec["load_bytes_per_s"] = pool["link"], pool["load"]
        spec["outlook"], spec["wanted"] = np.nan, -1


def start_plan(sim: state.Sim, cluster: ClusterSpec) -> None:
    """The cluster file's own replicas, if it names some, into `new_plan`."""
    entries = [e for e in cluster.replica for _ in range(e.count)][: contract.MAX_REPLICAS]
    plan = sim.new_plan[0]
    plan["n_replicas"] = len(entries)
    for row, entry in zip(plan["replicas"], entries, strict=False):
        row["pool"], row["tp"], row["pp"] = entry.pool, entry.tp, entry.pp
        row["role"] = entry.role_code
        row["length_low_tokens"], row["length_high_tokens"] = 0, 2**31
        row["share"] = 1.0
        row["instance"] = -1
