"""What a change costs while it goes on: time, what is held twice, and the cache that is lost."""

from __future__ import annotations

import time
from collections.abc import Sequence

from serving_adapter.actuators.protocol import Cost, ReplicaState
from serving_adapter.actuators.replicas import Replica, ReplicaSpec


class Reckoning:
    """Adds up the cost of one change from what starts and stops."""

    def __init__(self, before: Sequence[Replica], wanted: Sequence[ReplicaSpec]) -> None:
        self._started_s = self._latest_s = time.monotonic()
        self._gpus = {replica.name: replica.spec.shape.gpus for replica in before}
        self._most_replicas = max(len(before), len(wanted))
        wanted_gpus = sum(spec.shape.gpus for spec in wanted)
        self._most_gpus = max(sum(self._gpus.values()), wanted_gpus)
        self._extra_replica_s = self._extra_gpu_s = 0.0
        self._lost_tokens = self._cut = 0

    def started(self, name: str, spec: ReplicaSpec) -> None:
        """A replica holds its GPUs from now on."""
        self._pass()
        self._gpus[name] = spec.shape.gpus

    def stopped(self, name: str, state: ReplicaState) -> None:
        """A replica is gone, with what it last had."""
        self._pass()
        self._gpus.pop(name, None)
        self._lost_tokens = _sum(self._lost_tokens, state.cached_tokens)
        self._cut = _sum(self._cut, state.running_requests)

    def now(self) -> Cost:
        """The cost so far."""
        self._pass()
        return Cost(
            seconds=self._latest_s - self._started_s,
            extra_replica_s=self._extra_replica_s,
            extra_gpu_s=self._extra_gpu_s,
            lost_cache_tokens=self._lost_tokens,
            cut_requests=self._cut,
        )

    def _pass(self) -> None:
        now_s = time.monotonic()
        span_s = now_s - self._latest_s
        self._latest_s = now_s
        self._extra_replica_s += span_s * max(0, len(self._gpus) - self._most_replicas)
        self._extra_gpu_s += span_s * max(0, sum(self._gpus.values()) - self._most_gpus)


def _sum(total: int, more: int) -> int:
    """Unknown stays unknown."""
    return -1 if total < 0 or more < 0 else total + more
