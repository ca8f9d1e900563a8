"""A fleet in memory that checks the floor at every step and fails where it is told to."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from serving_adapter.actuators.protocol import ReplicaState
from serving_adapter.actuators.replicas import PoolSpec, Replica, ReplicaSpec, duties_of
from serving_adapter.errors import ReplicaError


@dataclass
class MemoryFleet:
    """Replicas that are dictionary entries.

    `failing` maps (verb, replica name or "*") to how often that verb fails yet; `hanging` are
    verbs that never come back; `running` is what each replica still has inside, one less a look.
    """

    pools: tuple[PoolSpec, ...] = (PoolSpec(gpu="H100", gpus=8),)
    flips: bool = False
    replicas: dict[str, Replica] = field(default_factory=dict)
    added: set[str] = field(default_factory=set)
    running: dict[str, int] = field(default_factory=dict)
    looks_until_ready: int = 1
    failing: Counter[tuple[str, str]] = field(default_factory=Counter)
    hanging: set[str] = field(default_factory=set)
    verbs: list[tuple[str, str]] = field(default_factory=list)
    looks: Counter[str] = field(default_factory=Counter)
    floor_kept: bool = True
    number: int = 0

    @classmethod
    def of(cls, *specs: ReplicaSpec, **options: object) -> MemoryFleet:
        fleet = cls(**options)
        for spec in specs:
            name = fleet._new(spec)
            fleet.looks[name] = fleet.looks_until_ready
            fleet.added.add(name)
        return fleet

    def serving(self) -> dict[str, ReplicaSpec]:
        return {name: self.replicas[name].spec for name in self.added if self._is_ready(name)}

    def _new(self, spec: ReplicaSpec) -> str:
        self.number += 1
        name = f"r{self.number}"
        self.replicas[name] = Replica(name=name, spec=spec)
        return name

    def _is_ready(self, name: str) -> bool:
        return name in self.replicas and self.looks[name] >= self.looks_until_ready

    async def _verb(self, verb: str, name: str) -> None:
        self.verbs.append((verb, name))
        await asyncio.sleep(0)
        if verb in self.hanging:
            await asyncio.sleep(3600)
        for key in ((verb, name), (verb, "*")):
            if self.failing[key] > 0:
                self.failing[key] -= 1
                raise ReplicaError(f"{verb} {name} fails: it is a test.")

    def _check_floor(self) -> None:
        self.floor_kept &= len(duties_of(self.serving().values())) == 2

    async def present(self) -> tuple[Replica, ...]:
        return tuple(
            replace(replica, ready=name in self.added and self._is_ready(name))
            for name, replica in self.replicas.items()
        )

    async def start(self, spec: ReplicaSpec) -> str:
        await self._verb("start", "*")
        used = sum(r.spec.shape.gpus for r in self.replicas.values())
        assert used + spec.shape.gpus <= self.pools[0].gpus
        return self._new(spec)

    async def state(self, name: str) -> ReplicaState:
        await self._verb("state", name)
        self.looks[name] += 1
        left = self.running.get(name, 0)
        self.running[name] = max(0, left - 1)
        dead = "it died" if name not in self.replicas else ""
        return ReplicaState(
            ready=self._is_ready(name), failed=dead, running_requests=left, cached_tokens=100
        )

    async def add(self, name: str) -> None:
        await self._verb("add", name)
        assert self._is_ready(name)
        self.added.add(name)

    async def change(self, name: str, spec: ReplicaSpec) -> None:
        await self._verb("change", name)
        self.replicas[name] = replace(self.replicas[name], spec=spec)

    async def drain(self, name: str) -> None:
        await self._verb("drain", name)
        self.added.discard(name)
        self._check_floor()

    async def stop(self, name: str) -> None:
        await self._verb("stop", name)
        self.added.discard(name)
        self.replicas.pop(name, None)
        self._check_floor()


@pytest.fixture
def memory_fleet() -> type[MemoryFleet]:
    return MemoryFleet
