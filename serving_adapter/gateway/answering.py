"""The life of one request in the gateway: read, decided, sent, retried or refused, recorded.

Retried elsewhere only before the first byte of an answer. Whatever happens, the request ends
exactly once: in the metrics, in the watchdog's comparison, in the request log and in its span.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from aiohttp import web

from serving_adapter.decision import Decision, Outcome
from serving_adapter.errors import AdapterError, EngineFailed
from serving_adapter.facts import FactReader, RequestFacts
from serving_adapter.gateway.access import TENANT
from serving_adapter.gateway.engines import EngineSet
from serving_adapter.gateway.gateway_metrics import GatewayMetrics
from serving_adapter.gateway.headers import EngineHeaders
from serving_adapter.gateway.holding import HoldQueue
from serving_adapter.gateway.proxy import Proxy, Relay
from serving_adapter.host import PolicyHost
from serving_adapter.instances import Flight
from serving_adapter.openai_api import Body, read_body
from serving_adapter.request_log import RequestOutcome, RequestRecord, Visit
from serving_adapter.tracing import NO_TRACING, Trace, Tracing
from serving_adapter.web_server import openai_error

ENDPOINTS: Mapping[str, str] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
}
MODELS = "models"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLimits:
    """How long and how often one request is tried, in seconds and counts."""

    max_attempts: int = 3
    body_timeout_s: float = 60.0
    retry_after_s: int = 1


@dataclass(frozen=True, slots=True)
class _Guest:
    """One request inside: what the client sent, and what is known of it."""

    request: web.Request
    raw: bytes
    visit: Visit
    trace: Trace


class Answering:
    """Answers requests with engines.

    Attributes:
        active: requests inside.
        draining: no new ones are taken.
    """

    def __init__(
        self,
        host: PolicyHost,
        holding: HoldQueue,
        metrics: GatewayMetrics,
        limits: AnswerLimits,
        *,
        headers: EngineHeaders,
        tracing: Tracing = NO_TRACING,
        on_request: Callable[[RequestRecord], None] = lambda _: None,
    ) -> None:
        self.active = 0
        self.draining = False
        self._host = host
        self._holding = holding
        self._metrics = metrics
        self._limits = limits
        self._headers = headers
        self._tracing = tracing
        self._on_request = on_request
        self._facts = FactReader()
        self._engines: EngineSet | None = None
        self._proxy: Proxy | None = None

    @property
    def engines(self) -> EngineSet:
        """The engines that answer.

        Raises:
            AdapterError: the application has not started.
        """
        if self._engines is None:
            raise AdapterError("The gateway has not started: serve its application first.")
        return self._engines

    def start(self, engines: EngineSet, proxy: Proxy) -> None:
        """Answer with these from now on."""
        self._engines, self._proxy = engines, proxy

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """A request with a body: chat, completions, embeddings."""
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                raw = await request.read()
        except TimeoutError:
            message = "The body came too slowly: send it at once."
            return openai_error(408, message, "BadRequestError", {"Connection": "close"})
        body = read_body(raw)
        tenant = request.get(TENANT)
        facts = self._facts.read(body, request.headers, self._host.now_s(), tenant)
        with self._visiting(ENDPOINTS[request.path], facts, request, raw, body) as guest:
            return await self._answer(guest)

    async def serve_models(self, request: web.Request) -> web.StreamResponse:
        """What models there are; no policy is asked."""
        facts = RequestFacts(arrived_s=self._host.now_s(), prompt_tokens=0)
        with self._visiting(MODELS, facts, request, b"", {}) as guest:
            return await self._answer(guest)

    @contextlib.contextmanager
    def _visiting(
        self, endpoint: str, facts: RequestFacts, request: web.Request, raw: bytes, body: Body
    ) -> Iterator[_Guest]:
        visit = Visit(endpoint, time.time(), facts)
        trace = self._tracing.begin(endpoint, body, request.headers)
        self.active += 1
        try:
            yield _Guest(request, raw, visit, trace)
        finally:
            self.active -= 1
            record = visit.record(self._host.now_s())
            trace.ended(record)
            self._metrics.ended(record)
            self._host.ended(visit.facts, record)
            self._on_request(record)

    async def _answer(self, guest: _Guest) -> web.StreamResponse:
        """Decide, send, and again elsewhere while nothing has reached the client."""
        visit = guest.visit
        while True:
            if self.draining:
                return self._refuse(visit, RequestOutcome.NO_ENGINE, 503, "The gateway drains")
            decision = await self._decide(visit)
            if decision.outcome is Outcome.REJECTED:
                return self._refuse(visit, RequestOutcome.REJECTED, 429, "The policy refused")
            if decision.outcome is not Outcome.ROUTED:
                return self._refuse(visit, RequestOutcome.NO_ENGINE, 503, "No engine is free")
            try:
                relay = await self._send(guest, decision)
            except EngineFailed as failure:
                if failure.unreachable:
                    self.engines.unreachable(decision.instance_id)
                visit.failed |= {decision.instance_id}
                if visit.attempts < self._limits.max_attempts:
                    continue
                return self._refuse(visit, RequestOutcome.ENGINE_ERROR, 502, "No engine answered")
            self._ended(visit, relay, decision)
            return relay.response

    async def _decide(self, visit: Visit) -> Decision:
        live = visit.live = visit.live or self._host.live
        if visit.endpoint == MODELS:
            decision = self._host.fallback(visit.facts, MODELS, visit.failed, live=live)
        else:
            decision = self._host.route(visit.facts, exclude=visit.failed, live=live)
        if decision.outcome is Outcome.HELD:
            by = decision.digest
            decision = await self._holding.wait(visit.facts, visit.failed, live, by)
        visit.decisions.append(decision)
        return decision

    async def _send(self, guest: _Guest, decision: Decision) -> Relay:
        """One attempt at one engine, seen by the instance table from start to end."""
        if self._proxy is None:
            raise AdapterError("The gateway has not started: serve its application first.")
        visit = guest.visit
        visit.attempts += 1
        visit.sent_s = self._host.now_s()
        target = self.engines.target(decision.instance_id)
        headers = self._headers.of(guest.request)
        headers.update(target.headers)
        guest.trace.sent(headers)
        others = self.engines.open_count(visit.failed | {decision.instance_id})
        flight = self._host.table.dispatch(decision.instance_id, visit.facts, visit.sent_s)
        try:
            relay = await self._proxy.relay(
                guest.request,
                guest.raw,
                target.url,
                headers,
                _named(decision),
                lambda count: self._tokens(visit, flight, count),
                last_attempt=visit.attempts >= self._limits.max_attempts or not others,
            )
            self.engines.answered(decision.instance_id, relay.response.headers)
            return relay
        finally:
            self._host.table.finish(flight)
            self._holding.capacity_changed()

    def _tokens(self, visit: Visit, flight: Flight, count: int) -> None:
        if count < 1:
            return
        now_s = self._host.now_s()
        if flight.done_tokens == 0:
            visit.first_token_s = now_s
        self._host.table.tokens(flight, count, now_s)

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
        after_s = self._limits.retry_after_s
        kind = "rate_limit_error" if status == 429 else "service_unavailable_error"
        message = f"{reason}: try again in {after_s} s."
        return openai_error(status, message, kind, {"Retry-After": str(after_s)})


def _named(decision: Decision) -> dict[str, str]:
    return {
        "X-Evolver-Decision": decision.id,
        "X-Evolver-Sequence": str(decision.sequence),
        "X-Evolver-Policy": decision.digest,
        "X-Evolver-Instance": str(decision.instance_id),
    }
