"""What KV transfers and migrations need in the kernel's rows: links, limits, who is asked."""

from __future__ import annotations

from sandbox.cluster import ClusterSpec
from sandbox.engine import LoadedPolicy
from sandbox.kernel.state import PS_PER_S, Sim


def fill_transfers(sim: Sim, cluster: ClusterSpec, policy: LoadedPolicy) -> None:
    """Settings of the network and of migration; no request has been anywhere yet.

    A policy that never calls `add_move` moves nothing, so its `migrate` is not asked.
    """
    row, network = sim.settings[0], cluster.network
    row["link_latency"] = round(network.latency_s * PS_PER_S)
    row["zone_latency"] = round(network.zone_latency_s * PS_PER_S)
    row["zone_rate"] = network.zone_bytes_per_s
    row["keep"] = round(network.keep_s * PS_PER_S)
    row["has_migrate"] = "migrate" in policy.hooks and "add_move(" in policy.source.canonical
    row["move_running"] = cluster.switch.move_running
    row["needs_handoff"] = "Instance.handoff_s" in policy.source.fields_read
    for name in ("source", "keep_next", "keep_prev", "prefill_id", "move_to", "move_id"):
        sim.requests[name] = -1
