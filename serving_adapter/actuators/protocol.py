"""Carries a plan out on a real fleet: what doors and planners call, and what a fleet has to offer.

`Actuator.apply` is what a planner calls. `carrying_out.StepwiseActuator` implements it for every
`ReplicaFleet`, the few verbs of one kind of fleet (processes, pods); a platform that rolls its own
changes out, as Ray Serve does, implements `Actuator` itself and takes `difference` only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from serving_adapter.actuators.replicas import PoolSpec, Replica, ReplicaSpec


class Step(StrEnum):
    """What was just done; `ROLL_BACK` begins the way back to the former plan."""

    START = "start"
    READY = "ready"
    ADD = "add"
    CHANGE = "change"
    DRAIN = "drain"
    DRAINED = "drained"
    STOP = "stop"
    FAILED = "failed"
    ROLL_BACK = "roll back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a change took so far, in real seconds.

    Attributes:
        seconds: since it began.
        extra_replica_s: replicas beyond the larger of the two plans, times how long.
        extra_gpu_s: the same in GPUs.
        lost_cache_tokens: KV of the replicas that were stopped; -1 where a fleet cannot say.
        cut_requests: that still ran when their replica was stopped; -1 where unknown.
    """

    seconds: float = 0.0
    extra_replica_s: float = 0.0
    extra_gpu_s: float = 0.0
    lost_cache_tokens: int = 0
    cut_requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step that was taken, or the reason why one failed."""

    step: Step
    replica: str = ""
    detail: str = ""
    cost: Cost = Cost()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a plan.

    Attributes:
        done: the fleet is what the plan wants.
        reason: why not, in one sentence; empty when done.
        restored: not done, and the fleet is what it was before.
        replicas: what there is now; empty where nobody can say.
        steps: every step, in the order taken.
    """

    done: bool
    reason: str = ""
    restored: bool = False
    replicas: tuple[Replica, ...]
    cost: Cost
    steps: tuple[Progress, ...] = field(repr=False)


Report = Callable[[Progress], None]


class Actuator(Protocol):
    """Makes a fleet what a plan wants."""

    async def present(self) -> tuple[Replica, ...]:
        """What there is now."""
        ...

    async def apply(
        self, wanted: Sequence[ReplicaSpec], report: Report = lambda _: None
    ) -> Outcome:
        """Carry a plan out: start new, wait until ready, add to the router, drain old, stop.

        Equal replicas are kept, traffic is served throughout, every wait is bounded. Cancelling
        takes back what was begun, then cancels.

        Args:
            wanted: the entries of the plan, as `specs_of` reads them.
            report: told of every step as it is taken; must return quickly.

        Raises:
            PlanRefused: it cannot be carried out from here, and nothing has been touched.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """What one replica says of itself.

    Attributes:
        ready: it would answer a request.
        failed: why it never will be ready; empty while it may.
        running_requests: inside it, queued ones included; -1 where unknown.
        cached_tokens: whose KV it holds; -1 where unknown.
    """

    ready: bool
    failed: str = ""
    running_requests: int = -1
    cached_tokens: int = -1


class ReplicaFleet(Protocol):
    """One kind of fleet. Every verb is idempotent and bounded, and raises `ReplicaError`.

    Attributes:
        pools: what GPUs there are.
        flips: whether a running replica can take another role.
    """

    pools: tuple[PoolSpec, ...]
    flips: bool

    async def present(self) -> tuple[Replica, ...]:
        """Replicas that exist, ready or not, in the order they came."""
        ...

    async def start(self, spec: ReplicaSpec) -> str:
        """Begin to start one; its name, without waiting for it to be ready."""
        ...

    async def state(self, name: str) -> ReplicaState:
        """How one replica is now."""
        ...

    async def add(self, name: str) -> None:
        """Let the router send requests to it; ends its draining, too."""
        ...

    async def change(self, name: str, spec: ReplicaSpec) -> None:
        """Let the router use it by another role, length range or share."""
        ...

    async def drain(self, name: str) -> None:
        """Let the router send nothing more to it; what is inside goes on."""
        ...

    async def stop(self, name: str) -> None:
        """Take it from the router and end it, by force if it must be; failed from then on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long each wait may last, in real seconds.

    Attributes:
        ready_s: from start to ready.
        drain_s: for requests inside a drained replica; what runs then is cut.
        stop_s: for ending a replica, by force in the end.
        step_s: for any other verb of a fleet.
        to_nothing: whether a plan may leave prefill or decode to nobody.
    """

    ready_s: float = 600.0
    drain_s: float = 600.0
    stop_s: float = 180.0
    step_s: float = 60.0
    poll_s: float = 0.25
    to_nothing: bool = False
