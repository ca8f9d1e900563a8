"""What a daemon serves over HTTP: health, metrics, and a door for cluster events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from evolver.daemon.config import Http
from evolver.daemon.metrics import DaemonMetrics
from evolver.daemon.sources_webhook import EventsRefused, Webhook
from evolver.errors import DaemonSetupWrong
from telemetry.cluster_events import MOST_BODY_BYTES, ClusterEvent

MAX_TOKEN_BYTES = 1024
CLOSE_S = 2.0


class Pages:
    """The handlers.

    Args:
        health: role and state in words and numbers; `alive` and `ready` among them.
        told: takes events.
        hook: knows who may post events; None lets nobody.
    """

    def __init__(
        self,
        health: Callable[[], dict[str, Any]],
        metrics: DaemonMetrics,
        told: Callable[[tuple[ClusterEvent, ...]], bool],
        hook: Webhook | None,
    ) -> None:
        self._health, self._metrics, self._told, self._hook = health, metrics, told, hook

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=MOST_BODY_BYTES)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._numbers)
        app.router.add_post("/cluster-events", self._events)
        return app

    async def _healthz(self, _: web.Request) -> web.Response:
        found = self._health()
        return web.json_response(found, status=200 if found["alive"] else 503)

    async def _readyz(self, _: web.Request) -> web.Response:
        found = self._health()
        return web.json_response(found, status=200 if found["ready"] else 503)

    async def _numbers(self, _: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.text(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def _events(self, request: web.Request) -> web.Response:
        if self._hook is None:
            raise web.HTTPNotFound(reason="This daemon has no token for events.")
        try:
            events = self._hook.take(await request.read(), request.headers.get("Authorization"))
        except EventsRefused as refused:
            return web.json_response({"detail": str(refused)}, status=refused.status)
        if not self._told(events):
            return web.json_response({"detail": "Too many wait; try again."}, status=503)
        self._metrics.events.inc(len(events))
        return web.json_response({"taken": len(events)}, status=202)


@asynccontextmanager
async def serving(pages: Pages, http: Http) -> AsyncIterator[int]:
    """Serve until left; the port.

    Raises:
        DaemonSetupWrong: the port is taken.
    """
    runner = web.AppRunner(pages.app(), access_log=None, shutdown_timeout=CLOSE_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, http.host, http.port).start()
        except OSError as error:
            raise DaemonSetupWrong(
                f"Nothing can listen on {http.host} port {http.port} ({error.strerror}): give "
                "another port in [http]."
            ) from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def hook_of(path: Path | None) -> Webhook | None:
    """What takes events from who has the token in a file; None without one.

    Raises:
        DaemonSetupWrong: there is no token in it.
    """
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            token = file.read(MAX_TOKEN_BYTES).decode("ascii").strip()
        return Webhook(token)
    except (OSError, UnicodeDecodeError, EventsRefused) as error:
        raise DaemonSetupWrong(f"The token file {path} is of no use: {error}") from error
