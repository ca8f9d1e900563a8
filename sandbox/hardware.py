"""From a cluster file to the kernel's rows: pools, GPUs, and every replica shape that fits."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sandbox.calibration import calibrated
from sandbox.cluster import ClusterError, ClusterSpec
from sandbox.kernel import state
from sandbox.kernel.state import BLOCK_TOKENS, NEVER, PS_PER_S
from sandbox.profiles import Gpu, Profile, UnknownProfile, available, gpus, load_gpu, load_profile
from sandbox.switching import fill_load, fill_supply

FIT_BATCH = 64  # decode steps are shown to policies as a line through batch 1 and this


@dataclass(frozen=True, slots=True)
class Hardware:
    """Pools, GPUs and shapes, with the step-time tables of each shape.

    Attributes:
        step_tokens: (shapes, tokens + 1).
        step_batch, step_context, step_mixed: (shapes, batch + 1).
        kv_bytes, weight_bytes: of the first shape, for policies that reckon in bytes.
    """

    pools: state.Rows
    gpus: state.Rows
    shapes: state.Rows
    step_tokens: NDArray[np.int64]
    step_batch: NDArray[np.int64]
    step_context: NDArray[np.int64]
    step_mixed: NDArray[np.int64]
    kv_bytes: float
    weight_bytes: float


def build_hardware(cluster: ClusterSpec) -> Hardware:
    """Rows for a cluster; pools and GPUs are the caller's to change, tables are shared.

    Raises:
        ClusterError: no pool can hold the model, or a GPU or model has no profile.
    """
    made = _build(cluster)
    return replace(made, pools=made.pools.copy(), gpus=made.gpus.copy())


@functools.lru_cache(maxsize=16)
def _build(cluster: ClusterSpec) -> Hardware:
    pools, devices = _pools(cluster)
    found = _profiles(cluster, pools)
    if not found:
        raise ClusterError(
            f"No GPU of {cluster.name} can hold {cluster.model}; profiles exist for: "
            + ", ".join(sorted({f"{gpu} x {model}" for gpu, model, _ in available()}))
            + "."
        )
    return hardware_of(found, cluster, pools, devices)


def hardware_of(
    found: list[tuple[int, Profile]], cluster: ClusterSpec, pools: state.Rows, devices: state.Rows
) -> Hardware:
    """Rows and tables of these (pool, profile) shapes, whether they are shipped or not."""
    shapes = np.zeros(len(found), state.SHAPE)
    tables = [_tables(profile, cluster) for _, profile in found]
    for row, (pool, profile), (tokens, batch, _, _) in zip(shapes, found, tables, strict=True):
        _fill_shape(row, pool, profile, cluster, pools[pool], tokens, batch)
    columns = [np.ascontiguousarray(np.stack(column)) for column in zip(*tables, strict=True)]
    step_tokens, step_batch, step_context, step_mixed = columns
    first = found[0][1]
    return Hardware(
        pools, devices, shapes, step_tokens, step_batch, step_context, step_mixed,
        float(first.kv_bytes_per_token), float(first.weight_bytes),
    )  # fmt: skip


def gpu_type_code(name: str) -> int:
    """Position of a GPU type among those that have facts; equal across clusters."""
    return [gpu.name for gpu in gpus()].index(load_gpu(name).name)


def _pools(cluster: ClusterSpec) -> tuple[state.Rows, state.Rows]:
    rows = np.zeros(len(cluster.pool), state.POOL)
    total = sum(spec.most for spec in cluster.pool)
    devices = np.zeros(total, state.GPU)
    first, node = 0, 0
    for k, spec in enumerate(cluster.pool):
        gpu = _gpu(spec.gpu)
        size = spec.node_size or gpu.node_gpus
        mine = slice(first, first + spec.most)
        devices["pool"][mine] = k
        devices["node"][mine] = node + np.arange(spec.most) // size
        node = int(devices["node"][first + spec.most - 1]) + 1
        row = rows[k]
        row["gpu_type"], row["node_size"], row["zone"] = gpu_type_code(spec.gpu), size, spec.zone
        row["first_gpu"], row["gpus"], row["spot"] = first, spec.most, spec.spot
        row["price"], row["memory"] = gpu.price_usd_per_hour, gpu.memory_bytes
        row["flops"], row["bandwidth"] = gpu.bf16_flops, gpu.memory_bytes_per_s
        row["link"] = gpu.link_bytes_per_s
        row["network"] = cluster.network.bytes_per_s or gpu.network_bytes_per_s
        row["load"] = gpu.host_link_bytes_per_s * cluster.switch.load_share
        row["present"] = row["free"] = spec.count
        fill_supply(row, spec)
        first += spec.most
    devices["present"], devices["instance"], devices["leave_at"] = True, -1, NEVER
    devices["offered"] = True
    return rows, devices


def _gpu(name: str) -> Gpu:
    try:
        return load_gpu(name)
    except UnknownProfile as error:
        raise ClusterError(str(error)) from None


def _profiles(cluster: ClusterSpec, pools: state.Rows) -> list[tuple[int, Profile]]:
    found = []
    for k, spec in enumerate(cluster.pool):
        most = min(int(pools[k]["node_size"]), spec.most)
        for tp in (1, 2, 4, 8):
            if tp > most:
                break
            try:
                profile = load_profile(spec.gpu, cluster.model, tp)
                found.append((k, calibrated(profile, cluster.calibrated)))
            except UnknownProfile:
                continue
    return found


def _tables(profile: Profile, cluster: ClusterSpec) -> tuple[NDArray[np.int64], ...]:
    batch, context, mixed = profile.dense_batch_tables(cluster.engine.max_num_seqs)
    most = cluster.engine.max_num_batched_tokens + cluster.engine.max_num_seqs
    return profile.dense_token_table(most), batch, context, mixed


def _fill_shape(
    row: np.void,
    pool: int,
    profile: Profile,
    cluster: ClusterSpec,
    where: np.void,
    tokens: NDArray[np.int64],
    batch: NDArray[np.int64],
) -> None:
    row["pool"], row["tp"], row["pp"], row["gpus"] = pool, profile.tp, 1, profile.tp
    row["kv_tokens"] = profile.kv_capacity_tokens
    row["kv_blocks"] = profile.kv_capacity_tokens // BLOCK_TOKENS
    row["limit_tokens"] = profile.max_sequence_tokens
    fill_load(row, profile.weight_bytes, cluster.switch, where)
    row["step_overhead"], row["request_overhead"] = (
        profile.step_overhead_ps,
        profile.request_overhead_ps,
    )
    row["attention_prefix"], row["attention_chunk"], row["attention_linear"] = profile.attention
    budget = cluster.engine.max_num_batched_tokens
    step_ps = profile.step_overhead_ps + int(tokens[budget]) + profile.attention_ps(budget, 0)
    row["prefill_rate"] = budget * PS_PER_S / step_ps
    high = min(FIT_BATCH, len(batch) - 1)
    rise = (int(batch[high]) - int(batch[1])) / max(high - 1, 1)
    row["kv_bytes"] = profile.kv_bytes_per_token
    row["decode_per_seq"] = rise / PS_PER_S
    row["decode_base"] = (profile.step_overhead_ps + int(batch[1]) - rise) / PS_PER_S


def differential_error(cluster: ClusterSpec) -> float:
    """Error of a ratio of two times on this cluster: that of its worst replica shape."""
    pools, _ = _pools(cluster)
    return max((p.differential_error for _, p in _profiles(cluster, pools)), default=0.0)
