"""How the gateway listens: TLS, a cap on connections, and no patience with slow clients.

A connection has `head_s` for its first request and `idle_s` for each later one, measured from the
end of the one before; trickling bytes buy no time. One above the cap is told 503 and closed. The
certificate is read again when its file changes, so a renewed one needs no restart.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from policy_store.files import stamp_of
from serving_adapter.background import in_background
from serving_adapter.errors import AdapterError
from serving_adapter.exposition import Registry
from serving_adapter.openai_api import error_object
from serving_adapter.web_server import new_runner

SWEEP_S = 1.0
SHUTDOWN_S = 1.0
TLS_HANDSHAKE_S = 10.0
TLS_POLL_S = 5.0

_log = logging.getLogger("evolver.http")


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of a TLS server; with `client_ca`, only clients certified by it are let in."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """A server context, TLS 1.2 or above.

        Raises:
            AdapterError: the files cannot be used.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            raise AdapterError(
                f"TLS cannot start with {self.certificate} and {self.key} "
                f"({type(error).__name__}): give a certificate chain and its key as PEM files."
            ) from error
        return context

    async def follow(self, context: ssl.SSLContext) -> None:
        """Load a renewed certificate into the context, for new connections; cancel to stop."""
        seen = self._stamps()
        while True:
            await asyncio.sleep(TLS_POLL_S)
            stamps = await asyncio.to_thread(self._stamps)
            if stamps == seen:
                continue
            seen = stamps
            try:
                await asyncio.to_thread(context.load_cert_chain, self.certificate, self.key)
                _log.info("the certificate was read again")
            except (OSError, ssl.SSLError) as error:
                _log.error("the old certificate stays: %s", type(error).__name__)

    def _stamps(self) -> tuple[object, ...]:
        return stamp_of(self.certificate), stamp_of(self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """What clients may take, in counts and seconds."""

    max_connections: int = 4096
    head_s: float = 10.0
    idle_s: float = 75.0


class Door:
    """Makes the protocols of one server's connections, and closes those that say nothing."""

    def __init__(self, limits: ClientLimits, registry: Registry) -> None:
        self._limits = limits
        self._server: web.Server | None = None
        self._since: dict[object, float] = {}
        self._heard: set[object] = set()
        self._refused = registry.counter(
            "evolver_connections_refused_total", "Above the cap, or without a request.", ("why",)
        )

    def __call__(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        if self._server is None or len(self._server.connections) >= self._limits.max_connections:
            self._refused.inc("full")
            return _Full()
        return self._server()

    @web.middleware
    async def hear(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A connection has brought a request; from now on only its idle time counts."""
        self._heard.add(request.protocol)
        return await handler(request)

    def open(self, server: web.Server) -> None:
        """Lead connections to a server from now on."""
        self._server = server

    async def sweep(self) -> None:
        """Close connections whose first request does not come, for ever; cancel to stop."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(SWEEP_S, self._limits.head_s))
            present = self._server.connections if self._server is not None else []
            self._heard &= set(present)
            now_s = loop.time()
            silent = [one for one in present if one not in self._heard]
            self._since = {one: self._since.get(one, now_s) for one in silent}
            for one in silent:
                if now_s - self._since[one] >= self._limits.head_s:
                    self._refused.inc("silent")
                    one.force_close()


class _Full(asyncio.Protocol):
    """Tells a client to come back later."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        body = error_object("Too many connections: try again in 1 s.", "overloaded_error", 503)
        head = (
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        if isinstance(transport, asyncio.WriteTransport):
            transport.write(head.encode("ascii") + body)
        transport.close()


@asynccontextmanager
async def listening(
    application: web.Application,
    host: str,
    port: int,
    *,
    tls: TlsFiles | None = None,
    limits: ClientLimits | None = None,
    registry: Registry | None = None,
) -> AsyncIterator[int]:
    """Serve an application; the port it is on, any that is free for 0.

    Raises:
        AdapterError: nothing can listen there, or the TLS files cannot be used.
    """
    limits = limits or ClientLimits()
    door = Door(limits, registry or Registry())
    application.middlewares.insert(0, door.hear)
    context = tls.context() if tls else None
    runner = new_runner(application, SHUTDOWN_S, keepalive_timeout_s=limits.idle_s)
    work = [door.sweep()]
    if tls is not None and context is not None:
        work.append(tls.follow(context))
    async with in_background(*work):
        try:
            await runner.setup()
            if runner.server is None:
                raise AdapterError("The server has stopped already: start another.")
            door.open(runner.server)
            server = await _bound(door, host, port, context)
            try:
                yield int(server.sockets[0].getsockname()[1])
            finally:
                server.close()
        finally:
            await runner.cleanup()


async def _bound(
    door: Door, host: str, port: int, context: ssl.SSLContext | None
) -> asyncio.base_events.Server:
    handshake_s = TLS_HANDSHAKE_S if context is not None else None
    try:
        return await asyncio.get_running_loop().create_server(
            door,
            host,
            port,
            ssl=context,
            ssl_handshake_timeout=handshake_s,
        )
    except OSError as error:
        raise AdapterError(
            f"Nothing can listen on {host}:{port} ({error.strerror}): give another --port."
        ) from error
