"""The page on which an emulated engine is told what goes wrong; it listens on loopback only."""

from __future__ import annotations

from aiohttp import web

from serving_adapter.emulation.faults import Faults, fault_of
from serving_adapter.errors import FleetError
from serving_adapter.openai_api import read_body
from serving_adapter.web_server import openai_error

FAULTS_PATH = "/emulator/faults"


def add_admin(app: web.Application, faults: Faults) -> None:
    """GET lists the faults that are present, POST adds one, DELETE ends all."""

    async def show(_: web.Request) -> web.Response:
        return web.json_response({"faults": [str(fault) for fault in faults.present()]})

    async def add(request: web.Request) -> web.Response:
        if request.content_type != "application/json":  # what a browser may not send unasked
            return openai_error(415, "Send application/json.", "BadRequestError")
        try:
            faults.add(fault_of(read_body(await request.read())))
        except FleetError as refusal:
            return openai_error(400, str(refusal), "BadRequestError")
        return await show(request)

    async def clear(request: web.Request) -> web.Response:
        faults.clear()
        return await show(request)

    app.router.add_get(FAULTS_PATH, show)
    app.router.add_post(FAULTS_PATH, add)
    app.router.add_delete(FAULTS_PATH, clear)
