"""Swaps policies under load, every 50 ms and one in three of them faulty, through signed snapshots.

    publisher = Publisher(key)
    load = replay(requests, gateway_url, model="tiny", time_scale=10.0)
    report = await swap_under_load(load, publisher, to_file(home / "active.json", key))
    verdict = audit(log.decisions, report.snapshots, report.served, finished)

Which door takes the load is all the same: `load` is whatever sends requests and says what came of
each (`replay` for a base URL, `send_all` for a function), and snapshots go where the door looks for
them (`to_file`, `to_host`, or a function of its own).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import aiohttp

from policy_store.keys import SigningKey, TrustedKeys
from policy_store.snapshot import (
    VALID_FOR,
    Approval,
    Snapshot,
    SnapshotCanary,
    SnapshotPolicy,
    sign_snapshot,
    write_snapshot,
)
from sandbox import contract
from sandbox.verifier import verify
from serving_adapter.emulation.load import MAX_REQUESTS, LoadRequest, Served
from serving_adapter.emulation.swap_policies import one_in_three_faulty
from serving_adapter.errors import LoadRefused
from serving_adapter.host import PolicyHost

SWAP_EVERY_S = 0.05
MAX_SWAPS = 10_000
CANARY_WEIGHT = 0.3
_APPROVED = Approval("ada", "a" * 64)

Publish = Callable[[Snapshot], Awaitable[object]]
NextPolicy = Callable[[int], str]


class Snapshots(Protocol):
    """Makes snapshots, one after the other, and keeps all that it made."""

    snapshots: list[Snapshot]

    def next(self) -> Snapshot:
        """The next one."""
        ...


@dataclass(slots=True)
class Publisher:
    """Signs one snapshot after another, as a store would: what was active is the next last good.

    Attributes:
        policy: source of the policy of a turn, counted from 1.
        canary_every: so many snapshots, one has a canary (the policy of the turn after); 0: none.
        snapshots: everything that was published so far.
    """

    key: SigningKey
    policy: NextPolicy = one_in_three_faulty
    deployment: str = "default"
    canary_every: int = 4
    snapshots: list[Snapshot] = field(default_factory=list)
    _turn: int = 0

    @property
    def trusted(self) -> TrustedKeys:
        """What hosts of these snapshots must trust."""
        return TrustedKeys((self.key.public,))

    def next(self) -> Snapshot:
        """The next snapshot, signed; its sequence is one above the last."""
        before = self.snapshots[-1] if self.snapshots else None
        sequence, now = len(self.snapshots) + 1, datetime.now(UTC)
        active, canary = self._next_policy(), None
        if self.canary_every and sequence % self.canary_every == 0:
            canary = SnapshotCanary(self._next_policy(), CANARY_WEIGHT)
        snapshot = Snapshot(
            sequence=sequence,
            active=active,
            last_good=before.active if before else None,
            issued_at=now,
            not_before=now - timedelta(minutes=1),
            expires_at=now + VALID_FOR,
            audit_head="b" * 64,
            deployment=self.deployment,
            canary=canary,
        )
        self.snapshots.append(sign_snapshot(snapshot, self.key))
        return self.snapshots[-1]

    def _next_policy(self) -> SnapshotPolicy:
        self._turn += 1
        source = verify(self.policy(self._turn), "policy")
        version = contract.CONTRACT_VERSION
        return SnapshotPolicy(
            source.digest(), source.canonical, source.parameters(), version, _APPROVED
        )


def to_file(path: Path, key: SigningKey) -> Publish:
    """Publishes by writing the file that hosts follow."""

    async def publish(snapshot: Snapshot) -> None:
        await asyncio.to_thread(write_snapshot, path, snapshot, key)

    return publish


def to_host(host: PolicyHost) -> Publish:
    """Publishes by handing snapshots to a host, as something that pushes them would."""

    async def publish(snapshot: Snapshot) -> None:
        await host.apply(snapshot)

    return publish


@dataclass(frozen=True, slots=True)
class SwapReport:
    """What was sent and what became of it, and all that was published meanwhile."""

    served: Sequence[Served]
    snapshots: Sequence[Snapshot]
    wall_s: float

    @property
    def failed(self) -> int:
        """Requests that were not answered in full."""
        return sum(not one.ok for one in self.served)


async def swap_under_load(
    load: Coroutine[None, None, Sequence[Served]],
    publisher: Snapshots,
    publish: Publish,
    *,
    every_s: float = SWAP_EVERY_S,
) -> SwapReport:
    """Publish a snapshot every `every_s` for as long as the load lasts, the first before it.

    Args:
        load: sends all requests, and ends within a bound.
        publisher: makes the snapshots.
        publish: puts one where the door looks for it; what it raises ends the load.
        every_s: from one to the next, or as soon as the one before is published.
    """
    await publish(await asyncio.to_thread(publisher.next))
    started_s = time.perf_counter()
    loading = asyncio.create_task(load)
    try:
        for number in range(1, MAX_SWAPS):
            due_s = started_s + number * every_s
            await asyncio.wait([loading], timeout=max(0.0, due_s - time.perf_counter()))
            if loading.done():
                break
            await publish(await asyncio.to_thread(publisher.next))
        served = await loading
    finally:
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
    return SwapReport(served, tuple(publisher.snapshots), time.perf_counter() - started_s)


async def send_all(
    requests: Sequence[LoadRequest],
    send: Callable[[LoadRequest], Awaitable[Served]],
    *,
    time_scale: float = 1.0,
    max_wall_s: float = 60.0,
) -> list[Served]:
    """Send every request at its time through a function, for doors that are no URL.

    Args:
        requests: what to send; arrivals in engine seconds.
        send: sends one and says what came of it; what it raises counts as failed.
        time_scale: engine seconds per real second.
        max_wall_s: real seconds after which what is unfinished counts as failed.

    Raises:
        LoadRefused: too many requests.
    """
    if len(requests) > MAX_REQUESTS:
        raise LoadRefused(f"{len(requests)} requests are too many: send {MAX_REQUESTS} at most.")
    started_s = time.perf_counter()
    results = [Served(request, 0, False, math.nan, math.nan, 0) for request in requests]

    async def one(number: int) -> None:
        with contextlib.suppress(Exception):
            results[number] = await send(requests[number])

    # Tasks for all of them at once would hold the loop up, which others measure.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max_wall_s), asyncio.TaskGroup() as sending:
            for number in sorted(range(len(requests)), key=lambda at: requests[at].arrival_s):
                due_s = started_s + requests[number].arrival_s / time_scale
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
                sending.create_task(one(number))
    return results


async def finished_by(urls: Sequence[str]) -> int:
    """Requests that these engines have answered in full so far, by their own metrics."""
    total = 0.0
    async with aiohttp.ClientSession() as session:
        for url in urls:
            async with session.get(url + "/metrics") as answer:
                page = await answer.text()
            total += sum(
                float(line.rsplit(" ", 1)[1])
                for line in page.splitlines()
                if line.startswith("vllm:request_success_total") and '"abort"' not in line
            )
    return round(total)
