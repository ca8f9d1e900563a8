"""The data plane of a world in one process, without HTTP: the same host, on a clock that jumps.

What a gateway does for a request is done here by hand, over the same `Visits` and `PolicyHost`. The
host's watchdog and its reports have no threads here, but turns of the one loop that there is.
"""

import asyncio
import contextlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from policy_store.records import Ejection, HostReport
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
from serving_adapter.facts import FactReader
from serving_adapter.gateway.meter import AnswerMeter
from serving_adapter.gateway.request_file import line_of
from serving_adapter.gateway.visits import Visits
from serving_adapter.host import PolicyHost
from serving_adapter.host_sum import host_sum
from serving_adapter.instances import InstanceTable
from telemetry.engine_signals import EngineSignals

SCRAPE_S = 1.0
FOLLOW_S = 0.5
WATCH_S = 0.25
REPORT_S = 5.0
HOLD_TICK_S = 0.25
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
        settings = settings_from_profile(spec.gpu, spec.model, spec.tp, 1.0, limits)
        self.faults = Faults(lambda _: None, lambda: None)
        model = EngineModel(settings.engine, settings.times)
        metrics = EngineMetrics(settings.model)
        self.driver = EngineDriver(model, metrics, 1.0, self.faults)
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

    def __init__(self, plan, home, clock, open_store):
        self._clock, self._open_store = clock, open_store
        self._state, registry = home / "hosts" / "default", Registry()
        trust = home / "trusted_keys.json"
        self.host = PolicyHost(
            InstanceTable(), registry=registry, state=self._state, clock=clock.monotonic,
            admission=Admission(trust, deployment="default", state=self._state, clock=clock.now),
            signals=signal_profile("gateway"),
        )  # fmt: skip
        facts = FactReader()
        facts._key = bytes(16)  # so that the same sessions are in the same arms
        self._log = (home / "requests.jsonl").open("a", buffering=1)
        self._visits = Visits(
            self.host, registry, max_hold_s=5.0, hold_tick_s=HOLD_TICK_S, scrape_s=SCRAPE_S,
            on_request=lambda record: self._log.write(line_of(record)), facts=facts,
        )  # fmt: skip
        self.engines = [Engine(self.host.table.add(), one, self.host.table) for one in plan.specs()]
        self._snapshot = home / "active.json"

    @contextlib.asynccontextmanager
    async def running(self):
        for engine in self.engines:
            engine.start()
        holding = self._visits.holding
        try:
            async with in_background(
                self._every(SCRAPE_S, self._scrape), holding.run(),
                self._every(WATCH_S, self._watch), self._every(REPORT_S, self._report),
                self.host.follow(self._snapshot, FOLLOW_S),
            ):  # fmt: skip
                yield
        finally:
            for engine in self.engines:
                await engine.kill()
            self._log.close()

    async def _every(self, period_s, work):
        while True:
            work()
            await asyncio.sleep(period_s)

    def _scrape(self):
        for engine in self.engines:
            if self.host.table.is_open(engine.number):
                self.host.table.scraped(engine.number, engine.signals(), self.host.now_s())
        self._visits.holding.capacity_changed()

    def _watch(self):
        self.host.watchdog.take_sample()
        self.host.watchdog.look()

    def _report(self):
        """What `evolver serve --report-to-store` says."""
        total = host_sum([self.host.report()])
        thrown = tuple(
            Ejection(one.digest, one.sequence, one.kind.value, one.reason,
                     datetime.fromtimestamp(one.unix_s, UTC))
            for one in total.ejections
        )  # fmt: skip
        now, facts = self._clock.now(), total.facts
        with self._open_store() as store:
            store.report_host(
                HostReport("inside", "default", total.sequence, total.digest, now, thrown, facts)
            )

    async def replay(self, requests, *, max_wall_s, attempts):
        """As `load.replay` does over HTTP."""

        async def insist(request):
            broken_unix_s = ()
            while True:
                served = await self.send(request)
                if served.ok or len(broken_unix_s) + 1 >= attempts:
                    return replace(served, broken_unix_s=broken_unix_s)
                broken_unix_s += (self._clock.time(),)
                await asyncio.sleep(0.01)

        return await send_all(requests, insist, max_wall_s=max_wall_s)

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
