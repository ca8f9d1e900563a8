"""From a cluster file to the kernel's rows: pools, GPUs, and every replica shape that fits."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sandbox.calibration import calibrated
from sandbox.cluster import ClusterError, ClusterSpec
from sandbox.contract import MAX_SHAPES
from sandbox.kernel import state
from sandbox.kernel.state import BLOCK_TOKENS, MAX_GPUS_PER_REPLICA, NEVER, PS_PER_S
from sandbox.profiles import Gpu, Profile, UnknownProfile, available, gpus, load_gpu, load_profile
from sandbox.shortened_steps import shortened
from sandbox.step_tables import StepTables, step_tables
from sandbox.switching import fill_load, fill_supply

FIT_BATCH = 64  # decode steps are shown to policies as a line through batch 1 and this


@dataclass(frozen=True, slots=True)
class Hardware:
    """Pools, GPUs and shapes, with the step-time tables of each shape.

    Attributes:
        step_tokens: (shapes, tokens + 1).
        step_batch, step_context, step_mixed: (shapes, batch + 1).
        spec_batch, spec_context: (shapes * most depth, batch + 1).
        spec_line: (shapes * most depth, 2), a line through the same, in seconds.
        kv_bytes, weight_bytes: of the first shape, for policies that reckon in bytes.
    """

    pools: state.Rows
    gpus: state.Rows
    shapes: state.Rows
    step_tokens: NDArray[np.int64]
    step_batch: NDArray[np.int64]
    step_context: NDArray[np.int64]
    step_mixed: NDArray[np.int64]
    spec_batch: NDArray[np.int64]
    spec_context: NDArray[np.int64]
    spec_line: NDArray[np.float64]
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
    found = _replicas(cluster, pools)
    if not found:
        raise ClusterError(
            f"No GPU of {cluster.name} can hold {cluster.model}; profiles exist for: "
            + ", ".join(sorted({f"{gpu} x {model}" for gpu, model, _ in available()}))
            + "."
        )
    _check_techniques(cluster, found)
    return hardware_of(found, cluster, pools, devices)


def _check_techniques(cluster: ClusterSpec, found: list[tuple[int, Profile, int]]) -> None:
    """Refuse techniques that change nothing here, so that nobody takes them for measured."""
    active = {row.name for _, p, pp in found for row in shortened(p, pp, cluster.engine).active}
    for name in cluster.engine.technique:
        if name not in active:
            raise ClusterError(
                f"No replica of {cluster.name} is inside the limits of {name} (GPU type, "
                "number format, context limit, TP or stages); leave it out of engine.technique."
            )


def hardware_of(
    found: list[tuple[int, Profile, int]],
    cluster: ClusterSpec,
    pools: state.Rows,
    devices: state.Rows,
) -> Hardware:
    """Rows and tables of these (pool, profile, stages), whether they are shipped or not."""
    engine = cluster.engine
    found = [(pool, shortened(p, pp, engine).profile(p), pp) for pool, p, pp in found]
    shapes = np.zeros(len(found), state.SHAPE)
    tables = [step_tables(profile, pp, cluster) for _, profile, pp in found]
    for row, (pool, profile, pp), made in zip(shapes, found, tables, strict=True):
        _fill_shape(row, pool, profile, pp, cluster, pools[pool], made)
    spec_batch = np.concatenate([made.spec_batch for made in tables])
    first = found[0][1]
    return Hardware(
        pools,
        devices,
        shapes,
        step_tokens=np.stack([made.tokens for made in tables]),
        step_batch=np.stack([made.batch for made in tables]),
        step_context=np.stack([made.context for made in tables]),
        step_mixed=np.stack([made.mixed for made in tables]),
        spec_batch=spec_batch,
        spec_context=np.concatenate([made.spec_context for made in tables]),
        spec_line=np.array([_line(row) for row in spec_batch]).reshape(-1, 2),
        kv_bytes=float(first.kv_bytes_per_token),
        weight_bytes=float(first.weight_bytes),
    )


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


def _replicas(cluster: ClusterSpec, pools: state.Rows) -> list[tuple[int, Profile, int]]:
    """(pool, profile of a stage, stages) of every replica that fits into one node.

    Those of one stage come first: what a policy can be shown is limited to MAX_SHAPES.
    """
    deepest = max([cluster.engine.max_pipeline_parallel_size, *(e.pp for e in cluster.replica)])
    found = []
    for pp in (1, 2, 4):
        for k, spec in enumerate(cluster.pool):
            most = min(int(pools[k]["node_size"]), spec.most, MAX_GPUS_PER_REPLICA)
            for tp in (1, 2, 4, 8):
                if pp <= deepest and tp * pp <= most:
                    found += [(k, profile, pp) for profile in _profile(cluster, spec.gpu, tp)]
    return found[:MAX_SHAPES]


def _profile(cluster: ClusterSpec, gpu: str, tp: int) -> list[Profile]:
    try:
        return [calibrated(load_profile(gpu, cluster.model, tp), cluster.calibrated)]
    except UnknownProfile:
        return []


def kv_capacity_tokens(profile: Profile, pp: int) -> int:
    """KV tokens of `pp` stages: each GPU holds 1 / pp of the layers, weights and KV alike.

    What one stage's GPUs have beside activations is the profile's KV and weights together.
    """
    bytes_per_token = profile.kv_bytes_per_token
    usable = profile.kv_capacity_tokens * bytes_per_token + profile.weight_bytes
    return (pp * usable - profile.weight_bytes) // bytes_per_token


def _fill_shape(
    row: np.void,
    pool: int,
    profile: Profile,
    pp: int,
    cluster: ClusterSpec,
    where: np.void,
    made: StepTables,
) -> None:
    row["pool"], row["tp"], row["pp"], row["gpus"] = pool, profile.tp, pp, profile.tp * pp
    kv_tokens = kv_capacity_tokens(profile, pp)
    if cluster.finetune is not None:
        kv_tokens = int(kv_tokens * (1.0 - cluster.finetune.kv_share))
    row["kv_tokens"], row["kv_blocks"] = kv_tokens, kv_tokens // BLOCK_TOKENS
    row["limit_tokens"] = min(profile.context_limit_tokens, kv_tokens)
    fill_load(row, profile.weight_bytes, cluster.switch, where)
    row["step_overhead"], row["request_overhead"] = (
        profile.step_overhead_ps,
        profile.request_overhead_ps,
    )
    row["attention_prefix"], row["attention_chunk"], row["attention_linear"] = profile.attention
    row["kv_bytes"] = profile.kv_bytes_per_token
    _fill_swap(row, profile, cluster, where)
    budget = cluster.engine.max_num_batched_tokens
    step_ps = profile.step_overhead_ps + int(made.tokens[budget]) + int(made.mixed[0])
    step_ps += profile.attention_ps(budget, 0)
    row["prefill_rate"] = pp * budget * PS_PER_S / step_ps
    row["decode_base"], row["decode_per_seq"] = _line(made.batch, profile.step_overhead_ps)


def _fill_swap(row: np.void, profile: Profile, cluster: ClusterSpec, where: np.void) -> None:
    """Host memory and copy time by KV block; every GPU of the replica copies its own part."""
    gpus = int(row["gpus"])
    block_bytes = profile.kv_bytes_per_token * BLOCK_TOKENS
    row["swap_blocks"] = int(cluster.engine.swap_space_bytes * gpus / block_bytes)
    host_bytes_per_s = float(where["load"]) / cluster.switch.load_share * gpus
    row["swap_block"] = int(block_bytes / host_bytes_per_s * PS_PER_S)


def _line(batch: NDArray[np.int64], overhead_ps: int = 0) -> tuple[float, float]:
    """Seconds of a decode step as a line through batch 1 and FIT_BATCH: base and rise."""
    high = min(FIT_BATCH, len(batch) - 1)
    rise = (int(batch[high]) - int(batch[1])) / max(high - 1, 1)
    return (overhead_ps + int(batch[1]) - rise) / PS_PER_S, rise / PS_PER_S


def differential_error(cluster: ClusterSpec) -> float:
    """Error of a ratio of two times on this cluster: that of its worst replica shape."""
    pools, _ = _pools(cluster)
    return max((p.differential_error for _, p, _ in _replicas(cluster, pools)), default=0.0)
