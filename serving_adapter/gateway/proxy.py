"""Relays one request to one engine and its answer back, bytes untouched in both directions.

Until the first byte of the answer has been passed on, a failure is an `EngineFailed` and the
request may go elsewhere. After it, a failure breaks the client's connection too, since a client
that saw an answer begin must not mistake its stump for the whole.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from yarl import URL

from serving_adapter.errors import EngineFailed
from serving_adapter.gateway.headers import HOP_BY_HOP, end_to_end
from serving_adapter.gateway.meter import AnswerMeter

RETRIABLE = frozenset({500, 502, 503, 504})
RETRY_LATER = frozenset({429, 503})
_BROKEN = (aiohttp.ClientError, OSError, TimeoutError)


Waiting = Callable[[asyncio.Timeout], contextlib.AbstractContextManager[None]]


@dataclass(slots=True)
class Relay:
    """What became of one answer.

    Attributes:
        status: the engine's HTTP status.
        broken: the engine stopped in mid-answer, and the client was cut off.
    """

    response: web.StreamResponse
    status: int
    meter: AnswerMeter
    broken: bool = False


class Proxy:
    """Sends requests to engines over one shared client session.

    A client that takes none of its answer for `stall_s` is cut off, and its engine told.
    """

    def __init__(
        self, session: aiohttp.ClientSession, timeout: aiohttp.ClientTimeout, stall_s: float = 60.0
    ) -> None:
        self._session = session
        self._timeout = timeout
        self._stall_s = stall_s

    async def relay(
        self,
        request: web.Request,
        body: bytes,
        url: str,
        headers: Mapping[str, str],
        extra_headers: Mapping[str, str],
        on_tokens: Callable[[int], None],
        waiting: Waiting,
        *,
        last_attempt: bool,
    ) -> Relay:
        """Send `body` to the engine at `url` and stream its answer to the client.

        Args:
            request: the client's request; its method, path and query are passed on.
            body: its body, read before.
            url: the engine's base URL.
            headers: for the engine.
            extra_headers: added to the answer.
            on_tokens: told of tokens as they pass.
            waiting: entered until the first byte; whoever ends the patience sends it elsewhere.
            last_attempt: pass a 5xx answer on instead of raising.

        Raises:
            EngineFailed: nothing reached the client, another engine may be tried.
        """
        answer: aiohttp.ClientResponse | None = None
        try:
            try:
                async with asyncio.timeout(None) as patience:
                    with waiting(patience):
                        answer = await self._call(request, body, url, headers)
                        if not 200 <= answer.status < 600:  # 101 would have clients change tongue
                            raise EngineFailed("The engine's answer is no final one.")
                        if answer.status in RETRIABLE and not last_attempt:
                            raise EngineFailed(f"The engine answered {answer.status}.")
                        chunk = await _next_chunk(answer)
            except TimeoutError as hung:
                raise EngineFailed("The engine hangs.", unreachable=True) from hung
            return await _pass_on(request, answer, chunk, extra_headers, on_tokens, self._stall_s)
        finally:
            if answer is not None:
                answer.close()

    async def _call(
        self, request: web.Request, body: bytes, url: str, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        try:
            try:
                return await self._send(request, body, url, headers)
            # Engines close idle connections as they like; the next one is a fresh one.
            except aiohttp.ServerDisconnectedError:
                return await self._send(request, body, url, headers)
        except aiohttp.ClientConnectorError as error:
            reason = f"The engine takes no connection ({type(error.os_error).__name__})."
            raise EngineFailed(reason, unreachable=True) from error
        except _BROKEN as error:
            raise EngineFailed(f"The engine gave no answer ({type(error).__name__}).") from error

    async def _send(
        self, request: web.Request, body: bytes, url: str, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        return await self._session.request(
            request.method,
            URL(url + request.rel_url.raw_path_qs, encoded=True),
            data=body or None,
            headers=headers,
            skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
            allow_redirects=False,
            timeout=self._timeout,
        )


async def _pass_on(
    request: web.Request,
    answer: aiohttp.ClientResponse,
    chunk: bytes,
    extra_headers: Mapping[str, str],
    on_tokens: Callable[[int], None],
    stall_s: float,
) -> Relay:
    meter = AnswerMeter(streamed=answer.content_type == "text/event-stream")
    headers = end_to_end(answer.headers, HOP_BY_HOP)
    headers.update(extra_headers)
    if answer.status in RETRY_LATER:
        headers.setdefault("Retry-After", "1")
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    relay = Relay(response, answer.status, meter)
    # The head goes out with the first chunk, so that an engine that dies between may be replaced.
    await response.prepare(request)
    try:
        while chunk:
            on_tokens(meter.feed(chunk))
            await _taken(request, response.write(chunk), stall_s)
            chunk = await _next_chunk(answer)
    except EngineFailed:
        relay.broken = True
        if request.transport is not None:
            request.transport.abort()
        return relay
    on_tokens(meter.close())
    await _taken(request, response.write_eof(), stall_s)
    return relay


async def _taken(request: web.Request, piece: Awaitable[None], stall_s: float) -> None:
    """Wait until the client has taken a piece of its answer, or leave one that takes nothing."""
    try:
        async with asyncio.timeout(stall_s):
            await piece
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("The client took nothing for too long.") from None


async def _next_chunk(answer: aiohttp.ClientResponse) -> bytes:
    """What the engine sent since the last one; empty at the end."""
    try:
        return await answer.content.readany()
    except _BROKEN as error:
        raise EngineFailed(f"The engine stopped answering ({type(error).__name__}).") from error
