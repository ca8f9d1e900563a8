"""A local engine that answers the OpenAI API with the timing of a real one and filler words.

    python -P -m serving_adapter.emulation.emulator --gpu H100 --model llama-3.1-8b --port 0

prints one JSON line with the port it listens on (always on loopback), serves until SIGTERM or,
with `--with-parent`, until its standard input closes. Prompt tokens follow the rule of
`openai_api.py`. The answer is as long as the body's `emulate_output_tokens` (an unknown field to
other engines; inside `vllm_xargs` too), at most the client's limit; without it, exactly the limit.
There are no faults on demand, no tools, no log-probabilities, and one choice per request.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from serving_adapter.emulation.engine_driver import EngineDriver
from serving_adapter.emulation.engine_metrics import EngineMetrics
from serving_adapter.emulation.engine_model import (
    PICOSECONDS,
    EngineModel,
    EngineSettings,
    StepTimes,
)
from serving_adapter.emulation.generation import Answer, Wanted, read_wanted
from serving_adapter.exposition import CONTENT_TYPE
from serving_adapter.openai_api import SSE_DONE, read_body
from serving_adapter.web_server import MAX_BODY_BYTES, openai_error, openai_errors

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
    """

    model: str
    times: StepTimes
    engine: EngineSettings = field(default_factory=EngineSettings)
    time_scale: float = 1.0
    request_overhead_s: float = 0.0


class Emulator:
    """The HTTP face of one emulated engine."""

    def __init__(self, settings: EmulatorSettings) -> None:
        self.settings = settings
        self.metrics = EngineMetrics(settings.model)
        self._driver: EngineDriver | None = None
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

    def application(self) -> web.Application:
        """The aiohttp application; it starts its engine with itself and stops it too."""
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[openai_errors])
        app.cleanup_ctx.append(self._engine)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._completion)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        return app

    async def _engine(self, _: web.Application) -> AsyncIterator[None]:
        settings = self.settings
        model = EngineModel(settings.engine, settings.times)
        self._driver = EngineDriver(model, self.metrics, settings.time_scale)
        stepping = asyncio.create_task(self._driver.run())
        yield
        stepping.cancel()
        await asyncio.gather(stepping, return_exceptions=True)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, chat=True)

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, chat=False)

    async def _models(self, _: web.Request) -> web.Response:
        card = {"id": self.settings.model, "object": "model", "owned_by": "evolver"}
        card["max_model_len"] = str(self.settings.engine.max_model_len)
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
        wanted = read_wanted(body, self.settings.engine.longest_tokens, chat=chat)
        answer = Answer(wanted, self.settings.model, f"{next(self._numbers):08x}", int(time.time()))
        async with self._generating(wanted, answer):
            if wanted.stream:
                return await self._stream(request, answer)
            await answer.complete()
            return web.json_response(answer.whole())

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

    async def _stream(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        response = web.StreamResponse(headers=SSE_HEADERS)
        await answer.advance()
        await response.prepare(request)
        async for events in answer.events():
            await response.write(events)
        await response.write(SSE_DONE)
        await response.write_eof()
        return response


def settings_from_profile(
    gpu: str, model: str, tp: int, time_scale: float, engine: Mapping[str, int] | None = None
) -> EmulatorSettings:
    """An engine like the profile's: its step times, its KV memory, its host overhead.

    Raises:
        sandbox.profiles.UnknownProfile: no such profile; the message lists what exists.
    """
    from sandbox.profiles import load_profile

    profile = load_profile(gpu, model, tp)
    limits = dict(engine or {})
    block_size = limits.get("block_size", 16)
    limits.setdefault("kv_blocks", profile.kv_capacity_tokens // block_size)
    limits.setdefault("max_model_len", profile.context_limit_tokens)
    return EmulatorSettings(
        model=profile.model,
        times=profile,
        engine=EngineSettings(**limits),
        time_scale=time_scale,
        request_overhead_s=profile.request_overhead_ps / PICOSECONDS,
    )


if __name__ == "__main__":
    from serving_adapter.emulation.emulator_process import main

    raise SystemExit(main())
