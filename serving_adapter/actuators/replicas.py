"""What a plan wants and what a fleet has: replicas by shape, and what the router makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from sandbox import contract
from serving_adapter.errors import PlanRefused

ALL_LENGTHS = 2**31
ALL_CLASSES = (1.0,) * contract.MAX_CLASSES
ROLES = {contract.MIXED: "mixed", contract.PREFILL: "prefill", contract.DECODE: "decode"}


class Duty(StrEnum):
    """What some ready replica must be doing as long as there is traffic."""

    PREFILL = "prefill"
    DECODE = "decode"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """GPUs of one type in one place, as `cluster.pools` numbers them.

    Attributes:
        gpu: type by name, as in `sandbox.profiles`.
        gpus: how many there are; None when nobody counts them (the cluster finds room or not).
    """

    gpu: str
    gpus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What cannot change without a new process: `tp * pp` GPUs of a pool."""

    pool: int = 0
    gpu: str = "H100"
    tp: int = 1
    pp: int = 1

    @property
    def gpus(self) -> int:
        """GPUs that one replica takes."""
        return self.tp * self.pp


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSpec:
    """One entry of a plan. `share` is by class id; lengths are half open, in tokens."""

    shape: Shape = Shape()
    role: int = contract.MIXED
    length_low_tokens: int = 0
    length_high_tokens: int = ALL_LENGTHS
    share: tuple[float, ...] = ALL_CLASSES

    @property
    def duties(self) -> frozenset[Duty]:
        """What it does for requests."""
        if self.role == contract.MIXED:
            return frozenset(Duty)
        return frozenset({Duty.PREFILL if self.role == contract.PREFILL else Duty.DECODE})

    def __str__(self) -> str:
        shape = self.shape
        return f"{ROLES[self.role]} {shape.gpu} tp={shape.tp} pp={shape.pp}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One replica that a fleet has.

    Attributes:
        name: never used for another.
        ready: it answers, and the router sends requests to it.
        failed: it never will again.
    """

    name: str
    spec: ReplicaSpec
    ready: bool = True
    failed: bool = False


def duties_of(specs: Iterable[ReplicaSpec]) -> frozenset[Duty]:
    """What these replicas do together."""
    return frozenset(duty for spec in specs for duty in spec.duties)


def specs_of(plan: np.void, pools: Sequence[PoolSpec]) -> tuple[ReplicaSpec, ...]:
    """The entries of a `contract.Plan` record, in its order.

    Raises:
        PlanRefused: an entry names a pool that is not there, or no shape at all.
    """
    rows = plan["replicas"][: int(plan["n_replicas"])]
    return tuple(_spec_of(row, pools) for row in rows)


def _spec_of(row: np.void, pools: Sequence[PoolSpec]) -> ReplicaSpec:
    pool, tp, pp, role = (int(row[name]) for name in ("pool", "tp", "pp", "role"))
    if not 0 <= pool < len(pools) or tp < 1 or pp < 1 or role not in ROLES:
        raise PlanRefused(
            f"The plan wants pool {pool}, tp {tp}, pp {pp}, role {role}, and there is no such "
            "replica: keep the present plan."
        )
    return ReplicaSpec(
        shape=Shape(pool=pool, gpu=pools[pool].gpu, tp=tp, pp=pp),
        role=role,
        length_low_tokens=int(row["length_low_tokens"]),
        length_high_tokens=int(row["length_high_tokens"]),
        share=tuple(float(share) for share in row["share"]),
    )
