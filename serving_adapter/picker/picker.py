"""The endpoint picker as a server: gRPC for the proxy and for health, HTTP for its own pages.

picker = EndpointPicker(host, {"http://10.0.0.7:8000": None}, registry)
async with picker.running("127.0.0.1:9002") as port: ...
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import grpc
from aiohttp import web
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc

from serving_adapter.background import in_background
from serving_adapter.errors import AdapterError, defect
from serving_adapter.exposition import Registry
from serving_adapter.facts import FactReader
from serving_adapter.gateway.engines import EngineSet, engine_session
from serving_adapter.gateway.pages import add_pages
from serving_adapter.gateway.visits import Visits
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceFacts
from serving_adapter.picker.endpoints import Endpoints
from serving_adapter.picker.exchange import Exchange, PickerSettings
from serving_adapter.picker.health import Health
from serving_adapter.picker.messages import SERVICE, Message
from serving_adapter.request_log import RequestRecord
from serving_adapter.web_server import openai_errors

FRAME_BYTES = 2**20  # of a message, around a body
CLOSE_S = 1.0

_log = logging.getLogger("evolver.picker")


class EndpointPicker:
    """One picker process: a policy host, the engines, and the proxies that ask.

    Args:
        host: what decides.
        engines: URLs, and what is declared of each; a host name stands for all its addresses.
        registry: where the metrics are shown.
        settings: limits and periods.
        on_request: told of every request at its end.
        facts: reads requests; one of its own without.
    """

    def __init__(
        self,
        host: PolicyHost,
        engines: Mapping[str, InstanceFacts | None],
        registry: Registry,
        *,
        settings: PickerSettings | None = None,
        on_request: Callable[[RequestRecord], None] = lambda _: None,
        facts: FactReader | None = None,
    ) -> None:
        self.host = host
        self.settings = settings or PickerSettings()
        self.visits = Visits(
            host,
            registry,
            max_hold_s=self.settings.max_hold_s,
            hold_tick_s=self.settings.hold_tick_s,
            scrape_s=self.settings.scrape_s,
            on_request=on_request,
            facts=facts,
        )
        self._urls = dict(engines)
        self._engines: EngineSet | None = None
        self._endpoints: Endpoints | None = None
        self._server: Any = None
        self._inside: set[asyncio.Task[None]] = set()

    @property
    def engines(self) -> EngineSet:
        """The engines behind this picker.

        Raises:
            AdapterError: it is not running.
        """
        if self._engines is None:
            raise AdapterError("The picker has not started: enter `running` first.")
        return self._engines

    @property
    def ready(self) -> bool:
        """Whether requests are taken, and an engine is there for them."""
        return self._engines is not None and bool(self.visits.state(self._engines)["ready"])

    @contextlib.asynccontextmanager
    async def running(
        self,
        address: str,
        credentials: Any = None,  # noqa: ANN401 - untyped library
    ) -> AsyncIterator[int]:
        """Serve while entered; the port that is listened on.

        Args:
            address: like `127.0.0.1:9002`; port 0 takes any that is free.
            credentials: of a TLS server, from `grpc.ssl_server_credentials`.

        Raises:
            AdapterError: nothing can listen there.
        """
        async with contextlib.AsyncExitStack() as stack:
            session = await stack.enter_async_context(engine_session())
            self._engines = EngineSet(self.host, session)
            self._endpoints = Endpoints(self._engines, self.host.table, self._urls)
            await self._endpoints.resolve()
            following = self._endpoints.follow(self.settings.resolve_s)
            await stack.enter_async_context(in_background(following))
            await stack.enter_async_context(self.visits.running(self._engines))
            port = await self._listen(address, credentials)
            stack.push_async_callback(self._close)
            yield port

    async def _listen(self, address: str, credentials: Any) -> int:  # noqa: ANN401
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self.settings.max_body_bytes + FRAME_BYTES),
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=self.settings.max_requests,
        )
        method = grpc.stream_stream_rpc_method_handler(
            self._process,
            request_deserializer=ext_proc.ProcessingRequest.FromString,
            response_serializer=ext_proc.ProcessingResponse.SerializeToString,
        )
        service = grpc.method_handlers_generic_handler(SERVICE, {"Process": method})
        self._server.add_generic_rpc_handlers((service, Health(lambda: self.ready).handler()))
        try:
            if credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise AdapterError(
                f"Nothing can listen on {address}: give another address or port."
            ) from error
        await self._server.start()
        return int(port)

    async def _process(self, _: Any, context: Any) -> None:  # noqa: ANN401
        """One stream. One that this side ends, ends well: the proxy goes on without the picker."""
        task = asyncio.current_task()
        if task is None or self._endpoints is None:
            raise AdapterError("The picker has not started: enter `running` first.")

        async def read() -> Message | None:
            message = await context.read()
            return None if message is grpc.aio.EOF else message

        exchange = Exchange(self.visits, self._endpoints, self.settings, read, context.write)
        self._inside.add(task)
        try:
            await exchange.run()
        except asyncio.CancelledError:
            if task in self._inside:
                raise
        except Exception as error:
            _log.error("%s", defect(error))
            await context.abort(grpc.StatusCode.INTERNAL, "The picker failed: see its log.")
        finally:
            self._inside.discard(task)

    async def drain(self, notice_s: float) -> None:
        """Say that no more is taken, wait until that is known, then until what is inside has left.

        Requests are still decided after the notice: a proxy may have nobody else to ask.
        """
        self.visits.draining = True
        await asyncio.sleep(notice_s)
        while self.visits.active:
            await asyncio.sleep(0.01)

    async def _close(self) -> None:
        for task in tuple(self._inside):
            self._inside.discard(task)
            task.cancel()
        await self._server.stop(CLOSE_S)

    def application(self) -> web.Application:
        """The pages: `/healthz`, `/readyz`, `/metrics`."""
        app = web.Application(middlewares=[openai_errors])
        add_pages(app, self.visits, lambda: self.engines)
        return app
