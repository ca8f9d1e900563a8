"""What a reconfiguration takes, from the cluster file to the kernel's rows."""

from __future__ import annotations

import numpy as np

from sandbox import contract
from sandbox.cluster import ClusterSpec, PoolSpec, SwitchSpec
from sandbox.kernel import state
from sandbox.kernel.state import BOOT, HOST, PEER, PS_PER_S, STORAGE


def fill_supply(row: np.void, spec: PoolSpec) -> None:
    """A pool's price, and how its number may change."""
    row["elastic"], row["most"] = spec.elastic, spec.most
    row["provision"] = round(spec.provision_s * PS_PER_S)
    row["wanted"] = row["asked"] = -1
    if spec.price_usd_per_hour is not None:
        row["price"] = spec.price_usd_per_hour


def fill_load(row: np.void, weight_bytes: float, switch: SwitchSpec, pool: np.void) -> None:
    """Times of a shape's start, by where its weights come from; see `kernel/loading.py`.

    Every GPU loads its own shards over its own link; storage gives the whole model to a replica.
    """
    shard_bytes = weight_bytes / int(row["gpus"])
    host_s = shard_bytes / float(pool["load"])
    row["start"] = int((switch.start_s + host_s) * PS_PER_S)
    row["boot"] = min(int(switch.start_s * PS_PER_S), int(row["start"]))
    row["load"][HOST] = row["start"] - row["boot"]
    row["load"][PEER] = min(int(shard_bytes / float(pool["link"]) * PS_PER_S), row["load"][HOST])
    if switch.storage_bytes_per_s is not None:
        storage_s = weight_bytes / switch.storage_bytes_per_s
        row["load"][STORAGE] = max(int(storage_s * PS_PER_S), 1)


def fill_switch(row: np.void, cluster: ClusterSpec) -> None:
    """The settings of the kernel that say what a switch takes."""
    switch = cluster.switch
    row["has_storage"] = switch.storage_bytes_per_s is not None
    row["storage"] = switch.storage_bytes_per_s or 0.0
    row["detect"] = round(switch.detect_s * PS_PER_S)
    row["flip"] = round(switch.flip_s * PS_PER_S)
    row["drain"] = round(switch.drain_s * PS_PER_S)


def hold_at_start(pools: state.Rows, gpus: state.Rows, cluster: ClusterSpec) -> None:
    """Which GPUs are there at time 0: all that a capacity trace left, `count` of elastic pools."""
    for k, (pool, spec) in enumerate(zip(pools, cluster.pool, strict=True)):
        mine = np.flatnonzero((gpus["pool"] == k) & gpus["present"])
        if spec.elastic:
            gpus["present"][mine[spec.count :]] = False
            mine = mine[: spec.count]
        pool["present"] = pool["free"] = len(mine)


def most_engines(pools: state.Rows, shapes: state.Rows) -> int:
    """How many engines may be alive at once, those that drain included: each has GPUs of its own.

    One whose plan is full of others must wait for a row; there are twice as many as replicas.
    """
    alive = 0
    for k, pool in enumerate(pools):
        sizes = shapes["gpus"][shapes["pool"] == k]
        alive += int(pool["gpus"]) // int(sizes.min(initial=1 << 30))
    return max(min(alive, 2 * contract.MAX_REPLICAS), 1)


def switch_numbers(totals: np.void) -> dict[str, float]:
    """What the switches of a run took, in GPU seconds and counts; loads by source.

    Starting and loading together are the GPU time behind `reconfiguration_s`; draining GPUs serve
    meanwhile and count as serving. Recomputed tokens are KV that engines lost when they went.
    """
    gpu_s = [float(ps) / PS_PER_S for ps in totals["phase_ps"]]
    return {
        "starting_gpu_s": gpu_s[BOOT],
        "loading_peer_gpu_s": gpu_s[PEER],
        "loading_host_gpu_s": gpu_s[HOST],
        "loading_storage_gpu_s": gpu_s[STORAGE],
        "draining_gpu_s": float(totals["drain_ps"]) / PS_PER_S,
        "engine_starts": float(totals["starts"].sum()),
        "role_flips": float(totals["flips"]),
        "failures": float(totals["failures"]),
        "recomputed_tokens": float(totals["recomputed"]),
    }
