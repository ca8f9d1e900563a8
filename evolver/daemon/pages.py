"""What a daemon serves over HTTP: health, metrics, and a door for cluster events."""

from __future__ import annotations

import hmac
import json
import math
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from evolver.daemon.config import Http
from evolver.daemon.metrics import DaemonMetrics
from evolver.daemon.protocols import Event
from evolver.errors import DaemonSetupWrong

MAX_EVENT_BYTES = 16_384
MAX_WORDS, MAX_FACTS = 200, 16
CLOSE_S = 2.0
_TOKEN = re.compile(r"[\x21-\x7e]{16,512}")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,39}")


class Pages:
    """The handlers.

    Args:
        health: role and state in words and numbers; `alive` and `ready` among them.
        told: takes events.
        token: of who posts events; empty lets nobody.
    """

    def __init__(
        self,
        health: Callable[[], dict[str, Any]],
        metrics: DaemonMetrics,
        told: Callable[[Event], None],
        token: str,
    ) -> None:
        self._health, self._metrics, self._told, self._token = health, metrics, told, token

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=MAX_EVENT_BYTES)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._numbers)
        app.router.add_post("/events", self._event)
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

    async def _event(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not self._token or not hmac.compare_digest(given.encode(), self._token.encode()):
            raise web.HTTPUnauthorized(reason="Give the token of this daemon.")
        try:
            event = _read(await request.read())
        except (ValueError, RecursionError) as error:
            raise web.HTTPBadRequest(reason=f"This is no event: {error}"[:200]) from None
        self._told(event)
        self._metrics.events.inc()
        return web.json_response({"taken": True}, status=202)


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


def read_token(path: Path | None) -> str:
    """The token in a file; empty without one.

    Raises:
        DaemonSetupWrong: there is none in it.
    """
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            token = file.read(1024).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DaemonSetupWrong(f"The token file {path} cannot be read: {error}.") from error
    if not _TOKEN.fullmatch(token):
        raise DaemonSetupWrong(
            f"The token file {path} holds no token: put 16 characters or more in it."
        )
    return token


def _read(body: bytes) -> Event:
    """`{"kind": "...", "what": "...", "unix_s": ..., NAME: NUMBER, ...}` as an event."""
    item = json.loads(body)
    if not isinstance(item, dict) or len(item) > MAX_FACTS:
        raise ValueError("an object of a few fields is asked for")
    kind, what = item.pop("kind", None), item.pop("what", "")
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        raise ValueError("kind is a word of small letters")
    if not isinstance(what, str) or len(what) > MAX_WORDS or not what.isprintable():
        raise ValueError(f"what has at most {MAX_WORDS} printable characters")
    at = item.pop("unix_s", time.time())
    facts = {name: value for name, value in item.items() if _KIND.fullmatch(name)}
    if len(facts) != len(item) or not all(map(_fact, (at, *facts.values()))):
        raise ValueError("facts are numbers and short words by name")
    if not isinstance(at, int | float):
        raise ValueError("unix_s is a time")
    return Event(float(at), kind, what or kind.replace("_", " "), facts)


def _fact(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_WORDS and value.isprintable()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)
