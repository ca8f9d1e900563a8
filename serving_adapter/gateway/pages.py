"""The pages that every door over HTTP has for operators: does it live, is it ready, its metrics."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from serving_adapter.exposition import CONTENT_TYPE
from serving_adapter.gateway.engines import EngineSet
from serving_adapter.gateway.visits import Visits


def add_pages(app: web.Application, visits: Visits, engines: Callable[[], EngineSet]) -> None:
    """Serve `/healthz`, `/readyz` and `/metrics`; `engines` is asked once they have started."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        state = visits.state(engines())
        return web.json_response(state, status=200 if state["ready"] else 503)

    async def metrics(_: web.Request) -> web.Response:
        page = visits.page(engines())
        return web.Response(body=page.encode(), headers={"Content-Type": CONTENT_TYPE})

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
