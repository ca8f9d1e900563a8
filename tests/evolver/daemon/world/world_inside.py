"""The data plane of a world in one process, without HTTP: the same host, engines on a fast clock.

What a gateway does for a request is done here by hand, over the same `Visits` and `PolicyHost`; the
host's clock goes as fast as the engines', so that policies and records are in engine seconds.
"""

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from evolver.cli.serve_control import reporting
from sandbox.signal_profiles import signal_profile
from serving_adapter.admission import Admission
from serving_adapter.background import in_background
from serving_adapter.emulation.engine_driver import EngineDriver
from serving_adapter.emulation.engine_metrics import EngineMetrics
from serving_adapter.emulation.engine_model import EngineModel, Generation
from serving_adapter.emulation.faults import Fault, FaultKind, Faults
from serving_adapter.emulation.load import Served
from serving_adapter.emulation.profiled import settings_from_profile
from serving_adapter.emulation.swap_load import send_all
from serving_adapter.exposition import Registry
from serving_adapter.gateway.meter import AnswerMeter
from serving_adapter.gateway.request_file import RequestFile
from serving_adapter.gateway.visits import Visits
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceTable
from serving_adapter.safety.limits import LiveLimits
from telemetry.engine_signals import EngineSignals

SCRAPE_ENGINE_S = 1.0
# A turn of the event loop is long on a fast clock, and its stalls are longer still.
LIMITS = LiveLimits(
    stale_s=120.0, starve_engine_s=120.0, kv_s=120.0, slow_call_s=0.05, behind_s=120.0
)
ATTEMPTS = 3


@dataclass
class Engine:
    """One engine that is no process; `stop` and `kill` close it, `start` opens it again."""

    number: int
    spec: object
    table: InstanceTable
    driver: EngineDriver = None
    faults: Faults = None
    stepping: asyncio.Task = None

    def start(self):
        spec = self.spec
        limits = {"max_num_seqs": spec.max_num_seqs,
                  "max_num_batched_tokens": spec.max_num_batched_tokens}  # fmt: skip
        settings = settings_from_profile(spec.gpu, spec.model, spec.tp, spec.time_scale, limits)
        self.faults = Faults(lambda _: None, lambda: None)
        model = EngineModel(settings.engine, settings.times)
        metrics = EngineMetrics(settings.model)
        self.driver = EngineDriver(model, metrics, spec.time_scale, self.faults)
        self.stepping = asyncio.create_task(self.driver.run())
        self.table.set_open(self.number, True)

    async def kill(self):
        self.table.set_open(self.number, False)
        self.driver.lose()
        self.stepping.cancel()
        await asyncio.gather(self.stepping, return_exceptions=True)

    async def stop(self):
        self.table.set_open(self.number, False)
        while not self.driver.model.idle:
            await asyncio.sleep(0.01)
        await self.kill()

    def signals(self):
        model = self.driver.model
        return EngineSignals(
            running=len(model.running), waiting=len(model.waiting), kv_usage=model.kv_usage,
            kv_capacity_tokens=model.settings.kv_capacity_tokens, preemptions=model.preemptions,
        )  # fmt: skip


class Inside:
    """Host and engines; `send` is what a client does."""

    def __init__(self, plan, home):
        self._scale, state = plan.scale, home / "hosts" / "default"
        registry, began, began_s = Registry(), datetime.now(UTC), time.monotonic()

        def wall_clock():
            return began + timedelta(seconds=(time.monotonic() - began_s) * plan.scale)

        trust = home / "trusted_keys.json"
        self.host = PolicyHost(
            InstanceTable(), registry=registry, limits=LIMITS, state=state,
            admission=Admission(trust, deployment="default", state=state, clock=wall_clock),
            clock=lambda: time.monotonic() * plan.scale, signals=signal_profile("gateway"),
        )  # fmt: skip
        self._log = RequestFile(home / "requests.jsonl")
        self._visits = Visits(
            self.host, registry, max_hold_s=5.0, hold_tick_s=0.05 / plan.scale,
            scrape_s=SCRAPE_ENGINE_S, on_request=self._log,
        )  # fmt: skip
        self.engines = [Engine(self.host.table.add(), one, self.host.table) for one in plan.specs()]
        self._snapshot, self._state = home / "active.json", state
        os.environ["EVOLVER_HOME"] = str(home)  # where reports to the store go

    @contextlib.asynccontextmanager
    async def running(self):
        for engine in self.engines:
            engine.start()
        where = SimpleNamespace(state=self._state, deployment="default")
        following = self.host.follow(self._snapshot)
        try:
            with contextlib.closing(self._log), reporting(where, True):
                async with self._visits.running(self), in_background(following):
                    yield
        finally:
            for engine in self.engines:
                await engine.kill()

    async def run(self, every_s, on_change):
        """Scrape for ever, as the engines behind a gateway are."""
        while True:
            for engine in self.engines:
                now_s = self.host.now_s()
                if self.host.table.is_open(engine.number):
                    self.host.table.scraped(engine.number, engine.signals(), now_s)
            on_change()
            await asyncio.sleep(every_s / self._scale)

    async def replay(self, requests, *, max_wall_s, attempts):
        """As `load.replay` does over HTTP."""

        async def insist(request):
            broken_unix_s = ()
            while True:
                served = await self.send(request)
                if served.ok or len(broken_unix_s) + 1 >= attempts:
                    return replace(served, broken_unix_s=broken_unix_s)
                broken_unix_s += (time.time(),)
                await asyncio.sleep(0.01)

        return await send_all(requests, insist, time_scale=self._scale, max_wall_s=max_wall_s)

    async def send(self, request):
        """One request from its arrival to its last token."""
        body = {"prompt": [request.session] * request.prompt_tokens, "stream": True,
                "max_tokens": request.output_tokens}  # fmt: skip
        headers = {"x-session-id": str(request.session)}
        facts = self._visits.facts.read(body, headers, self.host.now_s())
        with self._visits.visiting("completions", facts) as visit:
            ok = await self._answered(visit, request)
            decision = visit.decisions[-1]
            ended_s = self.host.now_s()
        return Served(
            request, 200 if ok else 502, ok, visit.first_token_s - facts.arrived_s,
            ended_s - facts.arrived_s, request.output_tokens if ok else 0, decision.sequence,
            decision.digest, decision.instance_id, decision.id,
        )  # fmt: skip

    async def _answered(self, visit, request):
        """Tried elsewhere only before the first token, as a gateway does."""
        meter = AnswerMeter(streamed=True)
        meter.prompt_tokens, meter.from_usage = request.prompt_tokens, True
        for _ in range(ATTEMPTS):
            decision = await self._visits.decide(visit)
            number = decision.instance_id
            if number < 0:
                break
            engine, woken = self.engines[number], asyncio.Event()
            flight = self._visits.sent(visit, number)
            generation = Generation(request.prompt_tokens, request.output_tokens,
                                    engine.driver.now_s(), woken.set)  # fmt: skip
            if self.host.table.is_open(number):
                engine.driver.submit(generation)
                while not (generation.finished or generation.lost):
                    await woken.wait()
                    woken.clear()
                    new = generation.done_tokens - meter.output_tokens
                    self._visits.tokens(visit, flight, new)
                    meter.output_tokens += new
            self._visits.left(flight)
            if generation.finished and not generation.lost:
                self._visits.answered(visit, 200, meter)
                return True
            visit.failed |= {number}
            if meter.output_tokens:
                break
        self._visits.answered(visit, 200 if meter.output_tokens else 502, meter, broken=True)
        return False

    async def kill(self, number):
        await self.engines[number].kill()

    async def stop(self, number):
        await self.engines[number].stop()

    async def start(self, number):
        self.engines[number].start()

    async def slow(self, number, value, for_s):
        self.engines[number].faults.add(Fault(kind=FaultKind.SLOW, value=value, for_s=for_s))

    def open_count(self):
        """Engines that take requests."""
        return sum(self.host.table.is_open(one.number) for one in self.engines)
