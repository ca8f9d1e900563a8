"""A bounded load replay against an OpenAI endpoint on this machine, with what each request saw.

Arrivals, and the latencies in the answer, are in engine seconds: `time_scale` of them pass per real
second. Prompts are lists of token ids, so their length is exact. Requests are open-loop: each
starts at its time, however many are in flight.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from yarl import URL

from serving_adapter.errors import LoadRefused
from serving_adapter.gateway.meter import AnswerMeter

MAX_REQUESTS = 20_000
MAX_WALL_S = 900.0
GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """One request to send: when, after the start of the replay, and how long it is."""

    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    session: int = -1


@dataclass(frozen=True, slots=True)
class Served:
    """What one request saw, of its last attempt.

    Attributes:
        status: HTTP status, 0 when the connection failed.
        ok: answered with 200 and every token asked for.
        ttft_s, e2e_s: engine seconds from sending; NaN when it never came.
        sequence, policy, instance, decision: what the gateway said; -1 and empty from a bare
            engine.
        broken_unix_s: when each attempt before it came to nothing.
    """

    request: LoadRequest
    status: int
    ok: bool
    ttft_s: float
    e2e_s: float
    output_tokens: int
    sequence: int = -1
    policy: str = ""
    instance: int = -1
    decision: str = ""
    broken_unix_s: tuple[float, ...] = ()


async def replay(
    requests: Sequence[LoadRequest],
    url: str,
    *,
    model: str,
    time_scale: float = 1.0,
    max_wall_s: float = 120.0,
    attempts: int = 1,
) -> list[Served]:
    """Send every request at its time; what each saw, in the order given.

    Args:
        requests: what to send.
        url: base URL of a gateway or engine on a loopback address.
        model: the id it serves.
        time_scale: engine seconds per real second.
        max_wall_s: real seconds after which what is unfinished counts as failed.
        attempts: how often a client asks for the same, where an answer broke off or never came.

    Raises:
        LoadRefused: too many requests, too long, or not this machine.
    """
    _check(requests, url, time_scale, max_wall_s)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        sender = _Sender(session, url.rstrip("/") + "/v1/completions", model, time_scale)
        tasks = [asyncio.create_task(sender.insist(request, attempts)) for request in requests]
        if tasks:
            await asyncio.wait(tasks, timeout=max_wall_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [
        _lost(request) if task.cancelled() else task.result()
        for request, task in zip(requests, tasks, strict=True)
    ]


def _check(requests: Sequence[LoadRequest], url: str, time_scale: float, max_wall_s: float) -> None:
    if not is_loopback(url):
        raise LoadRefused("The load replay only aims at this machine: use a 127.0.0.1 address.")
    if len(requests) > MAX_REQUESTS:
        raise LoadRefused(f"{len(requests)} requests are too many: send {MAX_REQUESTS} at most.")
    if not (0 < time_scale < math.inf and 0 < max_wall_s <= MAX_WALL_S):
        raise LoadRefused(f"A replay lasts up to {MAX_WALL_S:g} s on a clock that moves forward.")
    last_s = max((request.arrival_s for request in requests), default=0.0) / time_scale
    if last_s > max_wall_s:
        raise LoadRefused(
            f"The last arrival is after {last_s:.0f} real seconds, the limit {max_wall_s:.0f}: "
            "raise time_scale or cut the requests."
        )


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine by a loopback address or `localhost`."""
    host = URL(url).host or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _lost(request: LoadRequest) -> Served:
    return Served(request, 0, False, math.nan, math.nan, 0)


@dataclass(slots=True)
class _Sender:
    session: aiohttp.ClientSession
    url: str
    model: str
    time_scale: float
    started_s: float = 0.0
    strangers: int = 0

    def __post_init__(self) -> None:
        self.started_s = time.perf_counter()

    async def insist(self, request: LoadRequest, attempts: int) -> Served:
        """Wait for the request's time, and send it until it is answered or was sent so often."""
        due_s = self.started_s + request.arrival_s / self.time_scale
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        broken_unix_s: tuple[float, ...] = ()
        while True:
            served = await self.send(request)
            if served.ok or len(broken_unix_s) + 1 >= attempts:
                return replace(served, broken_unix_s=broken_unix_s)
            broken_unix_s += (time.time(),)

    async def send(self, request: LoadRequest) -> Served:
        """Send it once, and follow its answer to the end."""
        headers = {"X-Session-Id": str(request.session)} if request.session >= 0 else {}
        sent_s = time.perf_counter()
        try:
            async with self.session.post(
                self.url, json=self._body(request), headers=headers
            ) as answer:
                return await self._follow(request, answer, sent_s)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return _lost(request)

    def _token(self, request: LoadRequest) -> int:
        """A token id that is the session's own, or nobody else's."""
        self.strangers += request.session < 0
        return request.session if request.session >= 0 else 2**30 + self.strangers

    def _body(self, request: LoadRequest) -> dict[str, Any]:
        return {
            "model": self.model,
            # The turns of a session share their prefix; no two others do.
            "prompt": [self._token(request)] * request.prompt_tokens,
            "max_tokens": request.output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    async def _follow(
        self, request: LoadRequest, answer: aiohttp.ClientResponse, sent_s: float
    ) -> Served:
        meter, first_s = AnswerMeter(streamed=True), math.nan
        async for chunk in answer.content.iter_any():
            if meter.feed(chunk) and math.isnan(first_s):
                first_s = time.perf_counter()
        meter.close()
        named = answer.headers
        return Served(
            request=request,
            status=answer.status,
            ok=answer.status == 200 and meter.output_tokens == request.output_tokens,
            ttft_s=(first_s - sent_s) * self.time_scale,
            e2e_s=(time.perf_counter() - sent_s) * self.time_scale,
            output_tokens=meter.output_tokens,
            sequence=int(named.get("X-Evolver-Sequence", -1)),
            policy=named.get("X-Evolver-Policy", ""),
            instance=int(named.get("X-Evolver-Instance", -1)),
            decision=named.get("X-Evolver-Decision", ""),
        )
