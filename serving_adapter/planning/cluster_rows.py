"""The `contract.Cluster` of a cluster file: its pools, and what each replica shape would do.

Numbers are the simulator's for the same file, so that a policy finds live what it was evolved on:
step times and KV capacity from the profiles, rates at the lengths that the window shows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sandbox import contract
from sandbox.classes import show_promises
from sandbox.cluster import ClusterSpec
from sandbox.hardware import Hardware, build_hardware
from sandbox.kernel.observe import BATCH_OF_ESTIMATE
from sandbox.kernel.state import HOST, PS_PER_S, STORAGE
from sandbox.records import new_rows
from serving_adapter.activation import Rows
from serving_adapter.actuators.replicas import PoolSpec, ReplicaSpec, Shape

NOMINAL_TOKENS = 1000.0, 200.0  # of a prompt and an answer, before any was seen
_CONSTANT = ("gpu_type", "node_size", "zone", "spot", "elastic")
_RENAMED = {
    "price_usd_per_hour": "price",
    "memory_bytes": "memory",
    "flops": "flops",
    "bandwidth_bytes_per_s": "bandwidth",
    "link_bytes_per_s": "link",
    "load_bytes_per_s": "load",
}


@dataclass(frozen=True, slots=True)
class PoolReading:
    """GPUs of a pool as they are now; `grace_s` is until the first of `leaving` goes."""

    present: int
    leaving: int = 0
    arriving: int = 0
    grace_s: float = math.nan


class ClusterRows:
    """Keeps one `contract.Cluster` record and brings it up to date."""

    def __init__(self, spec: ClusterSpec) -> None:
        self.spec = spec
        self.row: Rows = new_rows(contract.Cluster, 1)
        self._hardware: Hardware = build_hardware(spec)
        self._shapes = {
            (int(one["pool"]), int(one["tp"]), int(one["pp"])): int(one["gpus"])
            for one in self._hardware.shapes
        }
        self._fill_constants()

    @property
    def pools(self) -> tuple[PoolSpec, ...]:
        """What an actuator has to know of them."""
        return tuple(PoolSpec(gpu=pool.gpu, gpus=pool.most) for pool in self.spec.pool)

    def usual(self) -> tuple[PoolReading, ...]:
        """The pools with all GPUs that the file has."""
        return tuple(PoolReading(pool.count) for pool in self.spec.pool)

    def spec_of(self, pool: int, tp: int, pp: int, role: int = contract.MIXED) -> ReplicaSpec:
        """A replica of this cluster as an actuator takes it."""
        gpu = self.spec.pool[pool].gpu
        return ReplicaSpec(shape=Shape(pool=pool, gpu=gpu, tp=tp, pp=pp), role=role)

    def starting_plan(self) -> tuple[ReplicaSpec, ...]:
        """The replicas that the file names; one of the first shape where it names none."""
        named = tuple(
            self.spec_of(entry.pool, entry.tp, entry.pp, entry.role_code)
            for entry in self.spec.replica
            for _ in range(entry.count)
        )
        return named or (self.spec_of(*next(iter(self._shapes))),)

    def gpus_used(self, replicas: Iterable[ReplicaSpec]) -> Counter[int]:
        """GPUs per pool that these take."""
        used: Counter[int] = Counter()
        for spec in replicas:
            used[spec.shape.pool] += spec.shape.gpus
        return used

    def has_shape(self, spec: ReplicaSpec) -> bool:
        """Whether the hardware can have such a replica."""
        return (spec.shape.pool, spec.shape.tp, spec.shape.pp) in self._shapes

    def fill(
        self,
        present: Sequence[PoolReading],
        running: Sequence[ReplicaSpec],
        tokens: tuple[float, float],
        class_tokens: Sequence[tuple[float, float]] = (),
    ) -> None:
        """Bring the record up to date.

        Args:
            present: one per pool.
            running: the replicas that hold GPUs.
            tokens: means of prompt and answer in the traffic; NaN where not known.
            class_tokens: the same per class, class 0 first.
        """
        row, used = self.row[0], self.gpus_used(running)
        for number, (pool, seen) in enumerate(zip(row["pools"], present, strict=False)):
            pool["present"], pool["leaving"], pool["arriving"] = (
                seen.present, seen.leaving, seen.arriving,
            )  # fmt: skip
            pool["in_use"] = min(used[number], seen.present)
            pool["free"] = seen.present - pool["in_use"]
            pool["grace_s"], pool["wanted"] = seen.grace_s, -1
        pools = row["pools"][: len(self.spec.pool)]
        row["gpus_present"], row["gpus_free"] = pools["present"].sum(), pools["free"].sum()
        row["price_usd_per_hour"] = float((pools["price_usd_per_hour"] * pools["in_use"]).sum())
        lengths = tuple(
            usual if math.isnan(mean) else mean
            for mean, usual in zip(tokens, NOMINAL_TOKENS, strict=True)
        )
        for place in range(len(self._hardware.shapes)):
            self._fill_shape(place, present, lengths[0], lengths[1], class_tokens)

    def _fill_constants(self) -> None:
        row, hardware = self.row[0], self._hardware
        row["weight_bytes"], row["kv_bytes_per_token"] = hardware.weight_bytes, hardware.kv_bytes
        row["monitoring_s"] = self.spec.tick.monitoring_s
        row["max_num_seqs"] = self.spec.engine.max_num_seqs
        show_promises(row, self.spec)
        row["n_pools"], row["n_shapes"] = len(hardware.pools), len(hardware.shapes)
        for pool, known in zip(row["pools"], hardware.pools, strict=False):
            for name in _CONSTANT:
                pool[name] = known[name]
            for name, theirs in _RENAMED.items():
                pool[name] = known[theirs]
            pool["outlook"] = math.nan
        for shape, known in zip(row["shapes"], hardware.shapes, strict=False):
            for name in ("pool", "tp", "pp", "gpus"):
                shape[name] = known[name]
            shape["kv_capacity_tokens"] = known["kv_tokens"]
            shape["prefill_tokens_per_s"] = known["prefill_rate"]
            source = STORAGE if self.spec.switch.storage_bytes_per_s is not None else HOST
            shape["start_s"] = int(known["load"][source] + known["boot"]) / PS_PER_S

    def _fill_shape(
        self,
        place: int,
        present: Sequence[PoolReading],
        prompt: float,
        output: float,
        class_tokens: Sequence[tuple[float, float]],
    ) -> None:
        known, shape = self._hardware.shapes[place], self.row[0]["shapes"][place]
        pool = present[int(known["pool"])]
        shape["fits_now"] = max(pool.present - pool.leaving, 0) // int(known["gpus"])
        shape["rate_rps"] = self._rate(place, prompt, output)
        alone_s = float(known["decode_base"] + known["decode_per_seq"]) + (
            int(self._hardware.step_context[place, 1]) / PS_PER_S * (prompt + 0.5 * output)
        )
        shape["latency_s"] = prompt / float(known["prefill_rate"]) + output * alone_s
        shape["class_rate_rps"] = math.nan
        for class_id, (prompts, outputs) in enumerate(class_tokens):
            if prompts > 0 and outputs > 0:
                shape["class_rate_rps"][class_id] = self._rate(place, prompts, outputs)

    def _rate(self, place: int, prompt: float, output: float) -> float:
        """Requests per second one replica sustains, as the simulator reckons it."""
        hardware, known = self._hardware, self._hardware.shapes[place]
        context = prompt + 0.5 * output
        seats = min(self.spec.engine.max_num_seqs, BATCH_OF_ESTIMATE)
        batch = max(int(min(float(known["kv_tokens"]) / context, seats)), 1)
        step_ps = float(known["step_overhead"]) + int(hardware.step_batch[place, batch])
        step_ps += int(hardware.step_context[place, batch]) * batch * context
        return 1.0 / (prompt / float(known["prefill_rate"]) + output * step_ps / PS_PER_S / batch)


def wanted_gpus(cluster: Rows, spec: ClusterSpec) -> tuple[int, ...]:
    """What a planner asked of elastic pools, -1 where it asked for nothing."""
    asked = []
    for pool, known in zip(cluster[0]["pools"], spec.pool, strict=False):
        wanted = int(pool["wanted"])
        asked.append(min(wanted, known.most) if known.elastic and wanted >= 0 else -1)
    return tuple(asked)
