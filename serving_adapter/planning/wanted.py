"""What a planner wants of the cluster: an immutable plan that says who decided it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from serving_adapter.actuators.replicas import ReplicaSpec
from serving_adapter.decision import Arm, Author


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPlan:
    """A deployment that was asked for, and under which snapshot.

    Attributes:
        number: counts this planner's plans from 1.
        sequence, digest: of the snapshot that was live and of the policy that decided;
            `BUILT_IN_DIGEST` when the default had to.
        pools_wanted: GPUs asked for per pool, -1 where nothing is asked.
        duration_s: wall time of trigger and planner together.
    """

    number: int
    sequence: int
    digest: str
    author: Author
    replicas: tuple[ReplicaSpec, ...]
    pools_wanted: tuple[int, ...] = ()
    duration_s: float = 0.0

    def count(self, pool: int, tp: int, pp: int, role: int) -> int:
        """How many replicas of that shape and role are wanted."""
        return sum(
            (spec.shape.pool, spec.shape.tp, spec.shape.pp, spec.role) == (pool, tp, pp, role)
            for spec in self.replicas
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaReading:
    """One replica as it stands; -1 and NaN where nobody says.

    Attributes:
        instance: a number that stays with it.
        queued_requests, running_requests: inside it.
        kv_used: share of its KV cache, 0 to 1.
        rate_rps: requests it finished per second since the previous reading.
    """

    spec: ReplicaSpec
    instance: int = -1
    ready: bool = True
    queued_requests: int = -1
    running_requests: int = -1
    kv_used: float = math.nan
    rate_rps: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDecision:
    """One time that the planner was asked, for logs and metrics.

    Attributes:
        result: `kept`, `planned`, or `failed` when nothing valid came out and the plan stands.
        reason: what failed on the way, in fault kinds; empty otherwise.
        arm: whose turn it was, while a policy was on trial.
    """

    number: int
    sequence: int
    digest: str
    author: Author
    result: str
    reason: str
    replicas: int
    duration_s: float
    arm: Arm = Arm.NONE

    def to_json(self) -> str:
        """One line of JSON."""
        names = ("number", "sequence", "digest", "author", "result", "reason", "replicas", "arm")
        return json.dumps({**{name: getattr(self, name) for name in names},
                           "duration_s": round(self.duration_s, 6)})  # fmt: skip
