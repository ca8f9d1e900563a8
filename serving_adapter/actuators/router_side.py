"""What a router has to do while replicas come and go, and the gateway as such a router."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from serving_adapter.actuators.replicas import ReplicaSpec
from serving_adapter.gateway.gateway import Gateway
from serving_adapter.instances import InstanceFacts

SETTLE_S = 0.05  # a decision made before draining began is on its way for a turn of the loop


class RouterSide(Protocol):
    """The router's half of an actuator. Every verb is idempotent; names are the fleet's."""

    def added(self) -> frozenset[str]:
        """Replicas that get new requests."""
        ...

    async def add(self, name: str, url: str, spec: ReplicaSpec) -> None:
        """Send requests to it from now on; ends its draining, too."""
        ...

    async def change(self, name: str, spec: ReplicaSpec) -> None:
        """Use it by another role, length range or share."""
        ...

    async def drain(self, name: str) -> None:
        """Send nothing more to it."""
        ...

    def inside(self, name: str) -> int:
        """Requests it has from this router; -1 where nobody counts them."""
        ...

    async def remove(self, name: str) -> None:
        """Forget it."""
        ...


def plain_facts(spec: ReplicaSpec) -> InstanceFacts:
    """What a plan alone says of an engine."""
    return InstanceFacts(tp=spec.shape.tp, pp=spec.shape.pp, pool=spec.shape.pool)


class GatewayRouter:
    """The gateway of this process: its engines and the rows that policies see.

    Args:
        gateway: started before the first verb.
        facts: what is known of an engine of that spec; role, lengths and share are filled in.
    """

    def __init__(
        self, gateway: Gateway, facts: Callable[[ReplicaSpec], InstanceFacts] = plain_facts
    ) -> None:
        self._gateway = gateway
        self._facts = facts
        self._ids: dict[str, int] = {}
        self._draining: set[str] = set()

    def added(self) -> frozenset[str]:
        """Replicas that get new requests."""
        return frozenset(self._ids.keys() - self._draining)

    def instance_id(self, name: str) -> int:
        """Under which id policies see a replica; -1 when they do not."""
        return self._ids.get(name, -1)

    async def add(self, name: str, url: str, spec: ReplicaSpec) -> None:
        """Send requests to it from now on; ends its draining, too."""
        if name not in self._ids:
            facts = replace(
                self._facts(spec),
                role=spec.role,
                length_low_tokens=spec.length_low_tokens,
                length_high_tokens=spec.length_high_tokens,
                share=spec.share[0],
            )
            self._ids[name] = self._gateway.engines.add(url, facts)
        self._draining.discard(name)
        self._gateway.host.table.set_draining(self._ids[name], draining=False)
        self._gateway.visits.holding.capacity_changed()

    async def change(self, name: str, spec: ReplicaSpec) -> None:
        """Use it by another role, length range or share."""
        low, high = spec.length_low_tokens, spec.length_high_tokens
        table = self._gateway.host.table
        table.set_use(self.instance_id(name), spec.role, low, high, spec.share[0])

    async def drain(self, name: str) -> None:
        """Send nothing more to it; what was decided before has left when this returns."""
        if name in self._ids:
            self._draining.add(name)
            self._gateway.host.table.set_draining(self._ids[name], draining=True)
            await asyncio.sleep(SETTLE_S)

    def inside(self, name: str) -> int:
        """Requests it has from this gateway."""
        return self._gateway.host.table.inside(self.instance_id(name))

    async def remove(self, name: str) -> None:
        """Forget it."""
        self._draining.discard(name)
        if name in self._ids:
            self._gateway.engines.remove(self._ids.pop(name))
