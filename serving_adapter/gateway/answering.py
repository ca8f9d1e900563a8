"""The life of one request in the gateway: read, decided, sent, retried or refused, recorded.

Retried elsewhere only before the first byte of an answer. Whatever happens, the request ends
exactly once: in the metrics, in the watchdog's comparison, in the request log and in its span.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from serving_adapter.decision import Decision, Outcome
from serving_adapter.errors import AdapterError, EngineFailed
from serving_adapter.facts import RequestFacts
from serving_adapter.gateway.access import TENANT
from serving_adapter.gateway.engines import EngineSet
from serving_adapter.gateway.headers import EngineHeaders
from serving_adapter.gateway.proxy import Proxy, Relay
from serving_adapter.gateway.upstream import WORKER_HEADERS
from serving_adapter.gateway.visits import (
    DRAINING,
    ENDPOINTS,
    MODELS,
    NO_ANSWER,
    NO_ENGINE,
    REJECTED,
    Refusal,
    Visits,
    headers_of,
)
from serving_adapter.openai_api import Body, read_body
from serving_adapter.request_log import Visit
from serving_adapter.tracing import NO_TRACING, Trace, Tracing
from serving_adapter.web_server import openai_error


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLimits:
    """How long and how often one request is tried, in seconds and counts."""

    max_attempts: int = 3
    body_timeout_s: float = 60.0
    retry_after_s: int = 1


@dataclass(slots=True)
class _Guest:
    """One request inside: what the client sent, what is known of it, attempts that met nobody."""

    request: web.Request
    raw: bytes
    visit: Visit
    trace: Trace
    unreached: int = 0


class Answering:
    """Answers requests with engines."""

    def __init__(
        self,
        visits: Visits,
        limits: AnswerLimits,
        *,
        headers: EngineHeaders,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._visits = visits
        self._limits = limits
        self._headers = headers
        self._tracing = tracing
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
        now_s = self._visits.host.now_s()
        facts = self._visits.facts.read(body, request.headers, now_s, tenant)
        with self._visiting(ENDPOINTS[request.path], facts, request, raw, body) as guest:
            return await self._answer(guest)

    async def serve_models(self, request: web.Request) -> web.StreamResponse:
        """What models there are; no policy is asked."""
        if not {".", ".."}.isdisjoint(request.path.replace("\\", "/").split("/")):
            # Whoever makes the path shorter behind us would show more than models.
            return openai_error(404, "There is no such model.", "NotFoundError")
        facts = RequestFacts(arrived_s=self._visits.host.now_s(), prompt_tokens=0)
        with self._visiting(MODELS, facts, request, b"", {}) as guest:
            return await self._answer(guest)

    @contextlib.contextmanager
    def _visiting(
        self, endpoint: str, facts: RequestFacts, request: web.Request, raw: bytes, body: Body
    ) -> Iterator[_Guest]:
        trace = self._tracing.begin(endpoint, body, request.headers)
        with self._visits.visiting(endpoint, facts, trace.ended) as visit:
            yield _Guest(request, raw, visit, trace)

    async def _answer(self, guest: _Guest) -> web.StreamResponse:
        """Decide, send, and again elsewhere while nothing has reached the client."""
        visit = guest.visit
        while True:
            if self._visits.draining:
                return self._refuse(visit, DRAINING)
            decision = await self._visits.decide(visit, by_policy=visit.endpoint != MODELS)
            if decision.outcome is not Outcome.ROUTED:
                rejected = decision.outcome is Outcome.REJECTED
                return self._refuse(visit, REJECTED if rejected else NO_ENGINE)
            try:
                relay = await self._send(guest, decision)
            except EngineFailed as failure:
                if failure.unreachable:
                    self.engines.unreachable(decision.instance_id)
                    guest.unreached += 1
                visit.failed |= {decision.instance_id}
                if self._tried(guest) < self._limits.max_attempts:
                    continue
                return self._refuse(visit, NO_ANSWER)
            self._visits.answered(visit, relay.status, relay.meter, broken=relay.broken)
            return relay.response

    def _tried(self, guest: _Guest) -> int:
        """Engines that had the request; those that are not there are closed, so they end too."""
        return guest.visit.attempts - guest.unreached

    async def _send(self, guest: _Guest, decision: Decision) -> Relay:
        """One attempt at one engine, seen by the instance table from start to end."""
        if self._proxy is None:
            raise AdapterError("The gateway has not started: serve its application first.")
        visit = guest.visit
        target = self.engines.target(decision.instance_id)
        headers = self._headers.of(guest.request)
        for name in WORKER_HEADERS if target.headers else ():
            headers.popall(name, None)
        headers.update(target.headers)
        guest.trace.sent(headers)
        others = self.engines.open_count(visit.failed | {decision.instance_id})
        flight = self._visits.sent(visit, decision.instance_id)

        computed = visit.endpoint != MODELS

        def passed(tokens: int) -> None:
            if computed:
                self.engines.heard(decision.instance_id)
            self._visits.tokens(visit, flight, tokens)

        try:
            relay = await self._proxy.relay(
                guest.request,
                guest.raw,
                target.url,
                headers,
                headers_of(decision),
                passed,
                partial(self.engines.waiting, decision.instance_id, computed=computed),
                last_attempt=self._tried(guest) >= self._limits.max_attempts or not others,
            )
            self.engines.answered(decision.instance_id, relay.response.headers)
            return relay
        finally:
            self._visits.left(flight)

    def _refuse(self, visit: Visit, refusal: Refusal) -> web.Response:
        visit.ended(refusal.outcome, refusal.status)
        after_s = self._limits.retry_after_s
        return web.Response(
            status=refusal.status,
            body=refusal.body(after_s),
            content_type="application/json",
            headers={"Retry-After": str(after_s)},
        )
