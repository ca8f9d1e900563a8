"""A Serve application of emulated engines, for rehearsals and tests: timing of real ones, no GPU.

`import_path: serving_adapter.ray_serve.emulated:application`. Each replica is one engine of the
given shape. It shows what a deployment has to report for the router and the planner:
`record_routing_stats` and `record_autoscaling_stats`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

from ray import serve

from serving_adapter.emulation.engine_driver import EngineDriver
from serving_adapter.emulation.engine_metrics import EngineMetrics
from serving_adapter.emulation.engine_model import EngineModel
from serving_adapter.emulation.faults import Faults
from serving_adapter.emulation.generation import Answer, read_wanted
from serving_adapter.emulation.profiled import settings_from_profile
from serving_adapter.planning.window import Tally
from serving_adapter.ray_serve.replica_counts import METRIC_PREFIX
from serving_adapter.request_log import RequestOutcome

if TYPE_CHECKING:
    from starlette.requests import Request


class EmulatedEngine:
    """One replica."""

    def __init__(
        self,
        gpu: str = "H100",
        model: str = "llama-3.1-8b",
        tp: int = 1,
        pp: int = 1,
        time_scale: float = 1.0,
        start_s: float = 0.0,
    ) -> None:
        if pp != 1:
            raise ValueError("The emulated engine has no pipeline: give pp 1.")
        self._settings = settings_from_profile(gpu, model, tp, time_scale)
        self._numbers, self._tally, self._preempted = itertools.count(1), Tally(), 0
        self._driver: EngineDriver | None = None
        self._stepping: asyncio.Task[None] | None = None
        time.sleep(start_s / time_scale)

    @property
    def _running(self) -> EngineDriver:
        """The engine, which steps on the loop that asks it first."""
        if self._driver is None:
            settings = self._settings
            model = EngineModel(settings.engine, settings.times)
            metrics = EngineMetrics(settings.model)
            faults = Faults(lambda _: None, lambda: None)  # nobody asks for any
            self._driver = EngineDriver(model, metrics, settings.time_scale, faults)
            self._stepping = asyncio.create_task(self._driver.run())
        return self._driver

    async def __call__(self, request: Request) -> dict[str, Any]:
        """An OpenAI completion or chat over HTTP, in one piece."""
        return await self.generate(await request.json())

    async def generate(self, body: dict[str, Any]) -> dict[str, Any]:
        """The same through a handle."""
        driver, began_s = self._running, time.monotonic()
        wanted = read_wanted(body, self._settings.engine, chat="messages" in body)
        answer = Answer(
            wanted, self._settings.model, f"{next(self._numbers):08x}", int(time.time())
        )
        self._tally.arrived(began_s, wanted.prompt_tokens)
        generation = answer.start(driver.now_s())
        await driver.sleep(self._settings.request_overhead_s)
        driver.submit(generation)
        try:
            await answer.complete()
        finally:
            driver.abort(generation)
        ttft_s = (generation.first_token_s - generation.arrived_s) / driver.time_scale
        queue_s = (generation.scheduled_s - generation.arrived_s) / driver.time_scale
        self._tally.ended(
            RequestOutcome.OK,
            prompt_tokens=wanted.prompt_tokens,
            output_tokens=wanted.output_tokens,
            queue_s=queue_s,
            ttft_s=ttft_s,
            e2e_s=time.monotonic() - began_s,
        )
        return answer.whole()

    async def record_routing_stats(self) -> dict[str, Any]:
        """What the request router may know of this engine."""
        model = self._running.model
        return {
            "unix_s": time.time(),
            "running": len(model.running),
            "waiting": len(model.waiting),
            "kv_usage": model.kv_usage,
            "kv_capacity_tokens": self._settings.engine.kv_capacity_tokens,
            "preemptions": model.preemptions,
        }

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What the planner's window is made of."""
        preempted = self._driver.model.preemptions if self._driver is not None else 0
        self._tally.preempted(preempted - self._preempted)
        self._preempted = preempted
        counters = self._tally.counters()
        return {METRIC_PREFIX + name: float(value) for name, value in counters.items()}


def application(args: dict[str, Any]) -> serve.Application:
    """The application; `args` has `engine`, as above, and `options` of `serve.deployment`."""
    unknown = args.keys() - {"engine", "options"}
    if unknown:
        raise ValueError(f"The application has no argument {min(unknown)!r}: see its module.")
    options = {"name": "EmulatedEngine", **args.get("options", {})}
    return serve.deployment(EmulatedEngine, **options).bind(**args.get("engine", {}))
