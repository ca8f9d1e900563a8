"""A local engine that answers the OpenAI API with the timing of a real one and filler words.

    python -P -m serving_adapter.emulation.emulator --gpu H100 --model llama-3.1-8b --port 0

prints one JSON line with the port it listens on (always on loopback), serves until SIGTERM or,
with `--with-parent`, until its standard input closes. Prompt tokens follow the rule of
`openai_api.py`. The answer is as long as the body's `emulate_output_tokens` (an unknown field to
other engines; inside `vllm_xargs` too), at most the client's limit; without it, exactly the limit.

Faults come on demand (`--fault`, or `POST /emulator/faults` with a JSON object: see `faults`),
`--cold-start` lets it load its model first, `--enable-prefix-caching` keeps prompts' blocks, and
`--shutdown-timeout` lets it end as vLLM does. There are no tools, no log-probabilities, no
embeddings, no pipeline parallelism, and one choice per request.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler

from serving_adapter.emulation.engine_driver import EngineDriver
from serving_adapter.emulation.engine_metrics import EngineMetrics
from serving_adapter.emulation.engine_model import (
    EngineModel,
    EngineSettings,
    StepTimes,
)
from serving_adapter.emulation.fault_admin import FAULTS_PATH, add_admin
from serving_adapter.emulation.faults import Fault, FaultKind, Faults
from serving_adapter.emulation.generation import Answer, Wanted, read_wanted
from serving_adapter.errors import FleetError
from serving_adapter.exposition import CONTENT_TYPE
from serving_adapter.openai_api import SSE_DONE, error_object, read_body
from serving_adapter.web_server import MAX_BODY_BYTES, openai_error, openai_errors

HUNG_POLL_S = 0.02
SSE_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


@dataclass(frozen=True, slots=True)
class EmulatorSettings:
    """One emulated engine: what it is called, how fast it is, and how fast its clock runs.

    Attributes:
        model: the id under `/v1/models`.
        times: where step times come from.
        engine: batch, queue and KV limits.
        time_scale: engine seconds per real second.
        request_overhead_s: engine seconds between a request's arrival and its queueing.
        start_s: engine seconds until its model is loaded; everything answers 503 before.
        old_metric_names: vLLM's former names of metrics.
        faults: what is to go wrong, counted from the start.
    """

    model: str
    times: StepTimes
    engine: EngineSettings = field(default_factory=EngineSettings)
    time_scale: float = 1.0
    request_overhead_s: float = 0.0
    start_s: float = 0.0
    old_metric_names: bool = False
    faults: tuple[Fault, ...] = ()


class Emulator:
    """The HTTP face of one emulated engine.

    Attributes:
        faults: what goes wrong with it.
        shutting_down: new requests get 500 while /health goes on saying 200, as in vLLM.
        gone: it has ended; connections are broken, since nobody took its process down.
    """

    def __init__(
        self, settings: EmulatorSettings, on_end: Callable[[FaultKind], None] | None = None
    ) -> None:
        self.settings = settings
        self.metrics = EngineMetrics(settings.model, settings.old_metric_names)
        self.faults = Faults(on_end or self._end, self._out_of_memory)
        self.shutting_down = self.gone = False
        self._driver: EngineDriver | None = None
        self._open: set[asyncio.BaseTransport | None] = set()
        self._numbers = itertools.count(1)

    @property
    def driver(self) -> EngineDriver:
        """The engine behind the API.

        Raises:
            RuntimeError: the application has not started.
        """
        if self._driver is None:
            raise RuntimeError("The emulator has not started: serve its application first.")
        return self._driver

    @property
    def idle(self) -> bool:
        """Whether no request is inside."""
        return not self._open

    @property
    def ready(self) -> bool:
        """Whether its model is loaded."""
        return self.driver.now_s() >= self.settings.start_s

    def application(self) -> web.Application:
        """The aiohttp application; it starts its engine with itself and stops it too."""
        around = [openai_errors, self._faulty]
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=around)
        app.cleanup_ctx.append(self._engine)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._completion)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        add_admin(app, self.faults)
        return app

    async def _engine(self, _: web.Application) -> AsyncIterator[None]:
        settings = self.settings
        model = EngineModel(settings.engine, settings.times)
        self._driver = EngineDriver(model, self.metrics, settings.time_scale, self.faults)
        for fault in settings.faults:
            self.faults.add(fault)
        stepping = asyncio.create_task(self._driver.run())
        yield
        self.faults.clear()
        stepping.cancel()
        await asyncio.gather(stepping, return_exceptions=True)

    def _end(self, _: FaultKind) -> None:
        """What a crash is where the engine is no process of its own."""
        self.gone = True
        for connection in self._open - {None}:
            _cut(connection)

    def _out_of_memory(self) -> None:
        self.shutting_down = True
        self.driver.lose()

    @web.middleware
    async def _faulty(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Everything that may keep a request from its handler."""
        if request.path == FAULTS_PATH:
            return await handler(request)
        connection = request.transport
        self._open.add(connection)
        try:
            while self.faults.hung:
                await asyncio.sleep(HUNG_POLL_S)
            if self.gone or self.faults.away:
                _cut(request.transport)
                raise ConnectionResetError
            if not self.ready:
                return openai_error(503, "The model is being loaded.", "ServiceUnavailableError")
            return await handler(request)
        finally:
            self._open.discard(connection)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, chat=True)

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, chat=False)

    async def _models(self, _: web.Request) -> web.Response:
        # Routers that look for vLLM's engines know them by their owner.
        card = {"id": self.settings.model, "object": "model", "owned_by": "vllm",
                "max_model_len": self.settings.engine.max_model_len}  # fmt: skip
        return web.json_response({"object": "list", "data": [card]})

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _metrics(self, _: web.Request) -> web.Response:
        page = self.metrics.render(self.driver.model)
        return web.Response(body=page.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _generate(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        body = read_body(await request.read())
        if body.get("model") != self.settings.model:
            message = f"The model is not served here: use {self.settings.model}."
            return openai_error(404, message, "NotFoundError")
        if self.shutting_down or self.faults.strikes(FaultKind.ERROR):
            return openai_error(500, "The engine takes nothing.", "InternalServerError")
        wanted = read_wanted(body, self.settings.engine, chat=chat)
        answer = Answer(wanted, self.settings.model, f"{next(self._numbers):08x}", int(time.time()))
        breaking = self.faults.strikes(FaultKind.DROP)
        try:
            async with self._generating(wanted, answer):
                if wanted.stream:
                    return await self._stream(request, answer, breaking=breaking)
                await answer.complete(0.5 if breaking else 1.0)
                if breaking:
                    _cut(request.transport)
                    raise ConnectionResetError
                return web.json_response(answer.whole())
        except FleetError:
            return openai_error(500, "The engine is gone.", "InternalServerError")

    @asynccontextmanager
    async def _generating(self, wanted: Wanted, answer: Answer) -> AsyncIterator[None]:
        """Queue the generation; drop it if the client goes before it is done."""
        driver = self.driver
        generation = answer.start(driver.now_s())
        await driver.sleep(self.settings.request_overhead_s)
        driver.submit(generation)
        try:
            yield
            self.metrics.ended(generation, wanted.finish_reason)
        finally:
            driver.abort(generation)

    async def _stream(
        self, request: web.Request, answer: Answer, *, breaking: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=SSE_HEADERS)
        await answer.advance()
        await response.prepare(request)
        try:
            async for events in answer.events():
                if breaking and answer.half:
                    _cut(request.transport)
                    raise ConnectionResetError
                await response.write(events)
        except FleetError:  # the status has left: the error comes as an event, as in vLLM
            error = error_object("The engine is gone.", "InternalServerError", 500)
            await response.write(b"data: " + error + b"\n\n")
        await response.write(SSE_DONE)
        await response.write_eof()
        return response


def _cut(connection: asyncio.BaseTransport | None) -> None:
    """Break a connection, as the system does with those of a dead process."""
    if isinstance(connection, asyncio.WriteTransport):
        connection.abort()


if __name__ == "__main__":
    from serving_adapter.emulation.emulator_process import main

    raise SystemExit(main())
