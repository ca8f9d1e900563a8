"""Asks one engine over HTTP how it is: ready, busy, and how much cache it holds."""

from __future__ import annotations

import aiohttp

from serving_adapter.actuators.protocol import ReplicaState
from serving_adapter.gateway.engines import read_signals
from telemetry.engine_signals import EngineSignals

ASK_TIMEOUT_S = 2.0


async def engine_state(
    session: aiohttp.ClientSession, url: str, inside: int, failed: str = ""
) -> ReplicaState:
    """What an engine says of itself, beside what its router says.

    Args:
        session: of the caller.
        url: the engine's base URL.
        inside: requests the router has there; -1 where it does not count.
        failed: why it is known to be gone; it is not asked then.
    """
    if failed:
        return ReplicaState(ready=False, failed=failed, running_requests=0, cached_tokens=0)
    ready = await _healthy(session, url)
    try:
        signals = await read_signals(session, url)
    except (aiohttp.ClientError, OSError, TimeoutError):
        signals = EngineSignals()
    own = signals.running + max(signals.waiting, 0) if signals.running >= 0 else -1
    return ReplicaState(
        ready=ready, running_requests=max(own, inside), cached_tokens=cached_tokens(signals)
    )


def cached_tokens(signals: EngineSignals) -> int:
    """Most tokens whose KV an engine can have kept for later prompts; -1 where it does not say."""
    done = signals.prompt_tokens, signals.generation_tokens, signals.kv_capacity_tokens
    if signals.prefix_queried_tokens < 0 or min(done) < 0:
        return -1
    # Engines count queries only where prefixes are cached.
    return min(done[0] + done[1], done[2]) if signals.prefix_queried_tokens else 0


async def _healthy(session: aiohttp.ClientSession, url: str) -> bool:
    timeout = aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)
    try:
        async with session.get(url + "/health", timeout=timeout, allow_redirects=False) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False
