"""The engines by their addresses, as proxies name them: `10.0.0.7:8000`, `[fd00::7]:8000`.

An engine is given as a URL. A host name in it stands for every address that it resolves to, asked
again all the time, so a headless Service of Kubernetes is a list of engines that follows its pods.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Collection, Mapping
from ipaddress import ip_address

import numpy as np
from yarl import URL

from serving_adapter.facts import RequestFacts
from serving_adapter.gateway.engines import EngineSet
from serving_adapter.instances import InstanceFacts, InstanceTable
from serving_adapter.outstanding import outstanding

MAX_ADDRESSES = 1024  # of one name

_log = logging.getLogger("evolver.picker")


class Endpoints:
    """Keeps the engines of a door true to the addresses behind their URLs."""

    def __init__(
        self,
        engines: EngineSet,
        table: InstanceTable,
        urls: Mapping[str, InstanceFacts | None],
    ) -> None:
        self._engines = engines
        self._table = table
        self._urls = dict(urls)
        self._ids: dict[str, int] = {}
        self._addresses: dict[int, str] = {}
        self._of_url: dict[str, frozenset[str]] = {}
        self._suspected: dict[int, asyncio.Task[None]] = {}
        self._turn = 0

    def address(self, instance_id: int) -> str | None:
        """Where an engine is; None when it has gone."""
        return self._addresses.get(instance_id)

    def instance_id(self, address: str | None) -> int | None:
        """Which engine is there; None when there is none of ours."""
        return None if address is None else self._ids.get(address)

    def outside(self, subset: Collection[str] | None) -> frozenset[int]:
        """The engines that a subset leaves out."""
        if subset is None:
            return frozenset()
        return frozenset(number for one, number in self._ids.items() if one not in subset)

    def others(
        self, facts: RequestFacts, now_s: float, exclude: frozenset[int], most: int
    ) -> list[str]:
        """Addresses of open engines, those with the fewest requests first, equal ones in turn."""
        if most < 1:
            return []
        rows = self._table.offered(facts, now_s, exclude)
        if not len(rows):
            return []
        self._turn += 1
        order = np.roll(np.arange(len(rows)), self._turn)
        order = order[np.argsort(outstanding(rows)[order], kind="stable")][:most]
        return [self._addresses[int(number)] for number in rows["id"][order]]

    def suspect(self, instance_id: int) -> None:
        """A proxy did not get its answer there: see at once whether it is alive."""
        if instance_id in self._addresses and instance_id not in self._suspected:
            task = asyncio.create_task(self._look(instance_id))
            self._suspected[instance_id] = task
            task.add_done_callback(lambda _: self._suspected.pop(instance_id, None))

    def heard(self, instance_id: int) -> None:
        """A proxy shows a part of an answer from there: a late metrics page is then no failure."""
        self._engines.heard(instance_id)

    async def _look(self, instance_id: int) -> None:
        for _ in range(2):  # one failure may be chance
            if instance_id in self._addresses:
                await self._engines.scrape(instance_id)

    async def follow(self, every_s: float) -> None:
        """Resolve names for ever; cancel to stop."""
        while True:
            await asyncio.sleep(every_s)
            await self.resolve()

    async def resolve(self) -> None:
        """Bring the engines in line with what their names stand for now.

        A name that cannot be resolved keeps the addresses that it had.
        """
        for text in self._urls:
            if found := await self._resolved(URL(text)):
                self._of_url[text] = found
        # Two names may stand for one address, so it goes when neither names it any more.
        for address in sorted(self._ids.keys() - frozenset().union(*self._of_url.values())):
            self._remove(address)
        for text, found in self._of_url.items():
            for address in sorted(found - self._ids.keys()):
                self._add(address, URL(text), self._urls[text])

    async def _resolved(self, url: URL) -> frozenset[str]:
        host, port = url.host or "", url.port or 80
        try:
            return frozenset({_joined(str(ip_address(host)), port)})
        except ValueError:
            pass
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            _log.warning("%s is not resolved (%s)", host, type(error).__name__)
            return frozenset()
        return frozenset(_joined(str(one[4][0]), port) for one in found[:MAX_ADDRESSES])

    def _add(self, address: str, url: URL, facts: InstanceFacts | None) -> None:
        instance_id = self._engines.add(f"{url.scheme}://{address}{url.path.rstrip('/')}", facts)
        self._ids[address], self._addresses[instance_id] = instance_id, address
        _log.info("engine %d is %s", instance_id, address)

    def _remove(self, address: str) -> None:
        instance_id = self._ids.pop(address, None)
        if instance_id is not None:
            del self._addresses[instance_id]
            self._engines.remove(instance_id)
            _log.info("engine %d, %s, has gone", instance_id, address)


def _joined(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
