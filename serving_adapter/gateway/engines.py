"""The engines behind a gateway: where they are, whether they answer, what their metrics say.

In header-only mode they are the workers of an upstream, which is asked who they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import aiohttp

from serving_adapter.errors import EngineFailed
from serving_adapter.gateway.silence import Silence
from serving_adapter.gateway.upstream import Upstream, Worker
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceFacts
from telemetry.engine_signals import EngineSignals, parse_signals
from telemetry.metrics_page import MOST_PAGE_BYTES

FAILED_SCRAPES = 2
LOST_SCRAPES = 3
SCRAPE_TIMEOUT_S = 2.0
STOOD_STILL = 1.5  # times that long: then it was this process that had no time
SILENCE_S = 30.0  # the shortest that says anything of an engine

_log = logging.getLogger("evolver.gateway")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes, and the headers that it needs to arrive there."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Engine:
    """One engine, and how often it failed in a row.

    Attributes:
        scraped: base URL of its metrics, without a trailing slash; None where it has none.
        worker: what the upstream calls it, in header-only mode.
        waiting: requests there of which no byte has come yet, and since when; infinite where the
            engine need not work for it.
        silence: whether it still computes.
    """

    instance_id: int
    target: Target
    scraped: str | None
    silence: Silence
    worker: str = ""
    failed_scrapes: int = 0
    waiting: dict[asyncio.Timeout, float] = field(default_factory=dict)


class EngineSet:
    """Keeps the instance table true to the engines: scrapes them, opens and closes them.

    An engine that takes no connection is closed at once, one that fails `FAILED_SCRAPES` scrapes
    too; the next scrape that it answers opens it again. Any HTTP answer counts: an engine without
    metrics is served by own counts alone. A page that is late says nothing where answers came
    meanwhile, or where this process had no time to read it. One that fails `LOST_SCRAPES` hangs,
    and so do requests of which it has sent nothing yet: they go elsewhere, where there is an
    elsewhere. So they do when an engine shows its pages and computes nothing (`silence`), which is
    then closed for a while.
    """

    def __init__(
        self,
        host: PolicyHost,
        session: aiohttp.ClientSession,
        upstream: Upstream | None = None,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._host = host
        self._session = session
        self._silence_s = silence_s
        self._upstream = upstream
        self._upstream_failed = 0
        self._engines: dict[int, Engine] = {}

    def add(self, url: str, facts: InstanceFacts | None = None) -> int:
        """Route to the engine at `url` from now on; its id."""
        instance_id = self._host.table.add(facts)
        url = url.rstrip("/")
        silence = Silence(self._silence_s)
        self._engines[instance_id] = Engine(instance_id, Target(url), url, silence)
        return instance_id

    def remove(self, instance_id: int) -> None:
        """Forget an engine; drain it first."""
        del self._engines[instance_id]
        self._host.table.remove(instance_id)

    def target(self, instance_id: int) -> Target:
        """Where a request for an engine goes.

        Raises:
            EngineFailed: it has been removed since it was chosen.
        """
        engine = self._engines.get(instance_id)
        if engine is None:
            raise EngineFailed("The engine was removed while it was chosen.")
        return engine.target

    def ids(self) -> tuple[int, ...]:
        """Every engine, in the order it was added."""
        return tuple(self._engines)

    def open_count(self, exclude: frozenset[int] = frozenset()) -> int:
        """Engines that take requests now."""
        if self._upstream_failed >= FAILED_SCRAPES:
            return 0
        is_open = self._host.table.is_open
        return sum(is_open(number) for number in self._engines if number not in exclude)

    def unreachable(self, instance_id: int) -> None:
        """A request found no connection."""
        self._failed(instance_id, FAILED_SCRAPES)

    async def run(self, every_s: float, on_change: Callable[[], None]) -> None:
        """Scrape all engines side by side, for ever; cancel to stop.

        One that does not answer keeps the signals of no other from being fresh.
        """
        asked: dict[int, asyncio.Task[None]] = {}
        try:
            while True:
                await self.follow_upstream()
                for number in set(self.ids()) - asked.keys():
                    asked[number] = asyncio.create_task(self.scrape(number))
                if asked:
                    await asyncio.wait(asked.values(), timeout=every_s / 2)
                asked = {number: task for number, task in asked.items() if not task.done()}
                on_change()
                await asyncio.sleep(every_s)
        finally:
            for task in asked.values():
                task.cancel()
            await asyncio.gather(*asked.values(), return_exceptions=True)

    async def follow_upstream(self) -> None:
        """Ask the upstream, where there is one, who its workers are."""
        if self._upstream is None:
            return
        try:
            workers = await self._upstream.workers(self._session)
        except EngineFailed as failure:
            self._upstream_failed += 1
            if self._upstream_failed == FAILED_SCRAPES:
                _log.warning("%s", failure)
            return
        self._upstream_failed = 0
        self._adopt(self._upstream, {worker.name: worker for worker in workers})

    def _adopt(self, upstream: Upstream, workers: Mapping[str, Worker]) -> None:
        known = {engine.worker: engine for engine in self._engines.values()}
        changed = known.keys() != workers.keys()
        for name in known.keys() - workers.keys():
            self.remove(known[name].instance_id)
        for name, worker in workers.items():
            engine = known.get(name)
            if engine is None:
                instance_id = self._host.table.add()
                silence = Silence(math.inf)  # the upstream says itself who is healthy
                target = Target(upstream.url)
                engine = Engine(instance_id, target, worker.scraped, silence, name)
                self._engines[instance_id] = engine
            if changed:  # places that were learned count no more
                engine.target = Target(upstream.url, {upstream.header: worker.value})
            self._host.table.set_open(engine.instance_id, worker.healthy)

    def answered(self, instance_id: int, headers: Mapping[str, str]) -> None:
        """An answer came; where an upstream says that another worker gave it, trade places."""
        name = self._upstream.served_by(headers) if self._upstream is not None else None
        chosen = self._engines.get(instance_id)
        if name is None or chosen is None or chosen.worker == name:
            return
        for engine in self._engines.values():
            if engine.worker == name:
                engine.target, chosen.target = chosen.target, engine.target
                _log.info("engine %d has another place than was thought", engine.instance_id)

    async def scrape(self, instance_id: int) -> None:
        """Ask one engine for its signals now."""
        asked_s, engine = self._host.now_s(), self._engines.get(instance_id)
        if engine is None or engine.scraped is None:  # it may have gone since it was its turn
            return
        try:
            signals = await read_signals(self._session, engine.scraped)
        except TimeoutError:  # some of which are OSErrors and ClientErrors, too
            if not self._is_excused(engine, asked_s):
                self._failed(instance_id, 1)
            return
        except (aiohttp.ClientError, OSError):
            self._failed(instance_id, 1)
            return
        if instance_id not in self._engines:
            return
        engine.silence.counted(signals, self._host.now_s())
        if not self._is_silent(engine) and engine.failed_scrapes:
            if not self._host.table.is_open(instance_id):
                _log.info("engine %d answers again", instance_id)
            engine.failed_scrapes = 0
            self._host.table.set_open(instance_id, True)
        self._host.table.scraped(instance_id, signals, asked_s)

    def _is_excused(self, engine: Engine, asked_s: float) -> bool:
        """Whether a page that did not come in time need not be the engine's fault."""
        stood_still = self._host.now_s() - asked_s > STOOD_STILL * SCRAPE_TIMEOUT_S
        return stood_still or engine.silence.was_heard(asked_s)

    def _is_silent(self, engine: Engine) -> bool:
        """Whether it is closed because it shows its pages and computes nothing."""
        now_s, number = self._host.now_s(), engine.instance_id
        since_s = min(engine.waiting.values(), default=math.inf)
        elsewhere = self.open_count(frozenset({number})) > 0
        if elsewhere and engine.silence.begins(since_s, now_s):
            _log.warning("engine %d shows its pages and computes nothing", number)
            self._host.table.set_open(number, False)
            engine.failed_scrapes = max(engine.failed_scrapes, FAILED_SCRAPES)
            _send_elsewhere(engine)
        return engine.failed_scrapes > 0 and engine.silence.is_away(now_s)

    def _failed(self, instance_id: int, weight: int) -> None:
        engine = self._engines.get(instance_id)
        if engine is None or self._upstream is not None:  # which says itself who is healthy
            return
        engine.failed_scrapes += weight
        if engine.failed_scrapes >= FAILED_SCRAPES and self._host.table.is_open(instance_id):
            self._host.table.set_open(instance_id, False)
            _log.warning("engine %d does not answer", instance_id)
        if engine.failed_scrapes >= LOST_SCRAPES and self.open_count(frozenset({instance_id})):
            _send_elsewhere(engine)

    def heard(self, instance_id: int) -> None:
        """A part of an answer came from there."""
        engine = self._engines.get(instance_id)
        if engine is not None:
            engine.silence.heard(self._host.now_s())

    @contextlib.contextmanager
    def waiting(
        self, instance_id: int, patience: asyncio.Timeout, *, computed: bool = True
    ) -> Iterator[None]:
        """Until left, a request waits for the first byte from an engine.

        `computed` says that the engine has to work for it, as it has not for a list of models.
        """
        engine, since_s = self._engines[instance_id], self._host.now_s()
        engine.waiting[patience] = since_s if computed else math.inf
        try:
            yield
        finally:
            engine.waiting.pop(patience, None)
        now_s = self._host.now_s()
        if computed:
            engine.silence.answered(now_s - since_s, now_s)


def _send_elsewhere(engine: Engine) -> None:
    """End the patience of all that wait for a first byte."""
    while engine.waiting:
        engine.waiting.popitem()[0].reschedule(0.0)  # which is over


def engine_session() -> aiohttp.ClientSession:
    """What a door asks its engines through: as many at once as there are, nothing remembered."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def read_signals(session: aiohttp.ClientSession, url: str) -> EngineSignals:
    """What the metrics page of an engine says; all missing where it has none.

    Raises:
        aiohttp.ClientError, OSError, TimeoutError: it does not answer.
    """
    timeout = aiohttp.ClientTimeout(total=SCRAPE_TIMEOUT_S)
    # Sessions hand bodies on as they come, and engines compress this page if they may.
    plain = {"Accept-Encoding": "identity"}
    async with session.get(
        url + "/metrics", headers=plain, timeout=timeout, allow_redirects=False
    ) as answer:
        if answer.status != 200:
            return EngineSignals()
        page = b""
        while len(page) < MOST_PAGE_BYTES and (more := await answer.content.readany()):
            page += more
        return parse_signals(page.decode("utf-8", "replace"))
