"""An OpenAI-compatible gateway: the policy picks the engine, the bytes pass untouched.

    policy host -> decision -> proxy -> engine      (retried elsewhere only before the first byte)

Serves chat, completions, embeddings and models of any OpenAI-compatible engines, `/healthz` (the
process lives), `/readyz` (an engine is there and nobody drains), and `/metrics`. Answers carry
`X-Evolver-Sequence`, `-Policy` and `-Instance`: under which snapshot, by which policy, where.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from serving_adapter.decision import Decision, Outcome
from serving_adapter.errors import AdapterError, EngineFailed
from serving_adapter.exposition import CONTENT_TYPE, Registry
from serving_adapter.facts import FactReader, RequestFacts
from serving_adapter.gateway.engines import EngineSet
from serving_adapter.gateway.gateway_metrics import GatewayMetrics
from serving_adapter.gateway.holding import HoldQueue
from serving_adapter.gateway.proxy import Proxy, Relay
from serving_adapter.host import PolicyHost
from serving_adapter.instances import Flight, InstanceFacts
from serving_adapter.openai_api import read_body
from serving_adapter.request_log import RequestOutcome, RequestRecord, Visit
from serving_adapter.web_server import MAX_BODY_BYTES, openai_error, openai_errors

ENDPOINTS: Mapping[str, str] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
}


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Limits and periods of a gateway, in seconds and counts."""

    max_attempts: int = 3
    max_hold_s: float = 5.0
    hold_tick_s: float = 0.05
    scrape_s: float = 1.0
    connect_timeout_s: float = 2.0
    idle_timeout_s: float = 600.0  # between two reads of an answer
    retry_after_s: int = 1


class Gateway:
    """One gateway process: a policy host, engines behind it, clients in front."""

    def __init__(
        self,
        host: PolicyHost,
        engines: Mapping[str, InstanceFacts | None],
        registry: Registry,
        *,
        settings: GatewaySettings | None = None,
        on_request: Callable[[RequestRecord], None] = lambda _: None,
    ) -> None:
        self.host = host
        self.settings = settings or GatewaySettings()
        self.metrics = GatewayMetrics(registry)
        self.holding = HoldQueue(host, self.settings.max_hold_s, self.settings.hold_tick_s)
        self._facts = FactReader()
        self._at_start = dict(engines)
        self._on_request = on_request
        self._active = 0
        self._draining = False
        self._engines: EngineSet | None = None
        self._proxy: Proxy | None = None
        host.watchdog.scrape_s = self.settings.scrape_s

    def application(self) -> web.Application:
        """The aiohttp application; it opens and closes its connections with itself."""
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[openai_errors])
        app.cleanup_ctx.append(self._running)
        for path in ENDPOINTS:
            app.router.add_post(path, self._serve)
        app.router.add_get("/v1/models", self._serve_models)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        return app

    @property
    def engines(self) -> EngineSet:
        """The engines behind this gateway.

        Raises:
            AdapterError: the application has not started.
        """
        if self._engines is None:
            raise AdapterError("The gateway has not started: serve its application first.")
        return self._engines

    async def drain(self) -> None:
        """Refuse new requests, and wait until those inside have ended."""
        self._draining = True
        while self._active:
            await asyncio.sleep(0.01)

    async def _running(self, _: web.Application) -> AsyncIterator[None]:
        settings = self.settings
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_timeout_s, sock_read=settings.idle_timeout_s
        )
        connector = aiohttp.TCPConnector(limit=0)
        session = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )
        async with session:
            self._proxy = Proxy(session, timeout)
            self._engines = EngineSet(self.host, session)
            for url, facts in self._at_start.items():
                self._engines.add(url, facts)
            scraping = self._engines.run(settings.scrape_s, self.holding.capacity_changed)
            tasks = [asyncio.create_task(scraping), asyncio.create_task(self.holding.run())]
            async with self.host.running():
                yield
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        count, live = self.engines.open_count(), self.host.live
        ready = count > 0 and not self._draining and not self.host.behind
        state = {
            "ready": ready,
            "draining": self._draining,
            "behind": self.host.behind,
            "engines": count,
            "sequence": live.sequence,
            "policy": live.digest,
        }
        return web.json_response(state, status=200 if ready else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        page = self.metrics.render(
            active=self._active,
            held=len(self.holding),
            engines_open=self.engines.open_count(),
            draining=self._draining,
        )
        return web.Response(body=page.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        now_s = self.host.now_s()
        facts = self._facts.read(read_body(raw), request.headers, now_s)
        with self._visiting(ENDPOINTS[request.path], facts) as visit:
            return await self._answer(request, raw, visit)

    async def _serve_models(self, request: web.Request) -> web.StreamResponse:
        facts = RequestFacts(arrived_s=self.host.now_s(), prompt_tokens=0)
        with self._visiting("models", facts) as visit:
            return await self._answer(request, b"", visit)

    @contextlib.contextmanager
    def _visiting(self, endpoint: str, facts: RequestFacts) -> Iterator[Visit]:
        visit = Visit(endpoint, time.time(), facts)
        self._active += 1
        try:
            yield visit
        finally:
            self._active -= 1
            record = visit.record(self.host.now_s())
            self.metrics.ended(record)
            self.host.ended(visit.facts, record)
            self._on_request(record)

    async def _answer(self, request: web.Request, raw: bytes, visit: Visit) -> web.StreamResponse:
        """Decide, send, and again elsewhere while nothing has reached the client."""
        while True:
            if self._draining:
                return self._refuse(visit, RequestOutcome.NO_ENGINE, 503, "The gateway drains")
            decision = await self._decide(visit)
            if decision.outcome is Outcome.REJECTED:
                return self._refuse(visit, RequestOutcome.REJECTED, 429, "The policy refused")
            if decision.outcome is not Outcome.ROUTED:
                return self._refuse(visit, RequestOutcome.NO_ENGINE, 503, "No engine is free")
            try:
                relay = await self._send(request, raw, visit, decision)
            except EngineFailed as failure:
                if failure.unreachable:
                    self.engines.unreachable(decision.instance_id)
                visit.failed |= {decision.instance_id}
                if visit.attempts < self.settings.max_attempts:
                    continue
                return self._refuse(visit, RequestOutcome.ENGINE_ERROR, 502, "No engine answered")
            self._ended(visit, relay, decision)
            return relay.response

    async def _decide(self, visit: Visit) -> Decision:
        live = visit.live = visit.live or self.host.live
        if visit.endpoint == "models":
            decision = self.host.fallback(visit.facts, "models", visit.failed, live=live)
        else:
            decision = self.host.route(visit.facts, exclude=visit.failed, live=live)
        if decision.outcome is Outcome.HELD:
            by = decision.digest
            decision = await self.holding.wait(visit.facts, visit.failed, live, by)
        visit.decisions.append(decision)
        return decision

    async def _send(
        self, request: web.Request, raw: bytes, visit: Visit, decision: Decision
    ) -> Relay:
        """One attempt at one engine, seen by the instance table from start to end."""
        if self._proxy is None:
            raise AdapterError("The gateway has not started: serve its application first.")
        visit.attempts += 1
        visit.sent_s = self.host.now_s()
        others = self.engines.open_count(visit.failed | {decision.instance_id})
        flight = self.host.table.dispatch(decision.instance_id, visit.facts, visit.sent_s)
        try:
            return await self._proxy.relay(
                request,
                raw,
                self.engines.url(decision.instance_id),
                _headers(decision),
                lambda count: self._tokens(visit, flight, count),
                last_attempt=visit.attempts >= self.settings.max_attempts or not others,
            )
        finally:
            self.host.table.finish(flight)
            self.holding.capacity_changed()

    def _tokens(self, visit: Visit, flight: Flight, count: int) -> None:
        if count < 1:
            return
        now_s = self.host.now_s()
        if flight.done_tokens == 0:
            visit.first_token_s = now_s
        self.host.table.tokens(flight, count, now_s)

    def _ended(self, visit: Visit, relay: Relay, decision: Decision) -> None:
        meter = relay.meter
        visit.output_tokens, visit.prompt_tokens = meter.output_tokens, meter.prompt_tokens
        visit.usage = meter.from_usage
        if relay.broken:
            visit.ended(RequestOutcome.BROKEN, relay.status)
        elif relay.status >= 500:
            visit.ended(RequestOutcome.ENGINE_ERROR, relay.status)
        elif relay.status >= 400:
            visit.ended(RequestOutcome.CLIENT_ERROR, relay.status)
        else:
            visit.ended(RequestOutcome.OK, relay.status)
            if meter.output_tokens:
                self._facts.ended(visit.facts, decision.instance_id, meter.output_tokens)

    def _refuse(
        self, visit: Visit, outcome: RequestOutcome, status: int, reason: str
    ) -> web.Response:
        visit.ended(outcome, status)
        after_s = self.settings.retry_after_s
        kind = "rate_limit_error" if status == 429 else "service_unavailable_error"
        message = f"{reason}: try again in {after_s} s."
        return openai_error(status, message, kind, {"Retry-After": str(after_s)})


def _headers(decision: Decision) -> dict[str, str]:
    return {
        "X-Evolver-Sequence": str(decision.sequence),
        "X-Evolver-Policy": decision.digest,
        "X-Evolver-Instance": str(decision.instance_id),
    }
