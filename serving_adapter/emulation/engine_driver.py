"""Runs an `EngineModel` in real time on a scaled clock, inside an asyncio loop.

At `time_scale` 10 an engine second lasts 100 ms. Steps shorter than a tick are taken together, so
tokens of one tick leave together; no step is skipped, and after a late wake-up the engine catches
up, unless it fell so far behind that the machine is simply too slow (`lagged` counts that). Faults
make steps slower, hold KV blocks, or stop the clock.
"""

from __future__ import annotations

import asyncio
import math

from serving_adapter.emulation.engine_metrics import EngineMetrics
from serving_adapter.emulation.engine_model import EngineModel, Generation, Step
from serving_adapter.emulation.faults import FaultKind, Faults

TICK_S = 0.002
MAX_LAG_S = 0.5


class EngineDriver:
    """The clock and the step loop of one emulated engine."""

    def __init__(
        self, model: EngineModel, metrics: EngineMetrics, time_scale: float, faults: Faults
    ) -> None:
        self.model = model
        self.faults = faults
        self.metrics = metrics
        self.time_scale = time_scale
        self.lagged = 0
        self._work = asyncio.Event()
        self._started_s = asyncio.get_running_loop().time()

    def now_s(self) -> float:
        """Seconds on the engine's clock since it started."""
        return (asyncio.get_running_loop().time() - self._started_s) * self.time_scale

    async def sleep(self, engine_s: float) -> None:
        """Wait that many engine seconds."""
        await asyncio.sleep(engine_s / self.time_scale)

    def submit(self, generation: Generation) -> None:
        """Queue a generation and wake the step loop."""
        self.model.submit(generation)
        self._work.set()

    def lose(self) -> None:
        """The engine is gone: nothing that is inside will be answered, and nothing new is taken."""
        for generation in (*self.model.running, *self.model.waiting):
            generation.lost = True
            self.model.abort(generation)
            generation.wake()

    def abort(self, generation: Generation) -> None:
        """Drop a generation whose client has gone."""
        if not generation.finished:
            self.model.abort(generation)
            self.metrics.ended(generation, "abort")

    async def run(self) -> None:
        """Step for ever; cancel to stop."""
        while True:
            if self.model.idle:
                self._work.clear()
                await self._work.wait()
            await self._busy_period(self.now_s())

    async def _busy_period(self, clock_s: float) -> None:
        """Step from `clock_s` until there is nothing left to compute."""
        loop = asyncio.get_running_loop()
        yielded_s = loop.time()
        while not self.model.idle:
            if self.faults.standing_still:
                clock_s = await self._stand_still()
                continue
            blocks = self.model.settings.kv_blocks
            self.model.held_blocks = round(blocks * self.faults.value(FaultKind.KV))
            step = self.model.begin(clock_s)
            if not step.work:  # no block is free for anybody
                await asyncio.sleep(TICK_S)
            clock_s += step.duration_s * (self.faults.value(FaultKind.SLOW) or 1.0)
            ahead_s = (clock_s - self.now_s()) / self.time_scale
            if ahead_s < -MAX_LAG_S:
                self.lagged += 1
                clock_s = self.now_s()
            # Without the second condition a machine that cannot keep up would starve its clients.
            if ahead_s > 0 or loop.time() - yielded_s > TICK_S:
                await asyncio.sleep(max(ahead_s, TICK_S))
                yielded_s = loop.time()
            self._commit(step, clock_s)

    async def _stand_still(self) -> float:
        while self.faults.standing_still:
            await asyncio.sleep(5 * TICK_S)
        return self.now_s()

    def _commit(self, step: Step, now_s: float) -> None:
        previous = [(generation, generation.last_token_s) for generation, _ in step.work]
        self.model.commit(step, now_s)
        for generation, last_s in previous:
            if generation.last_token_s == last_s or math.isnan(generation.last_token_s):
                continue
            self.metrics.token(generation, now_s - last_s)
            generation.wake()
