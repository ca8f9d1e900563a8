"""An OpenAI-compatible gateway: the policy picks the engine, the bytes pass untouched.

    policy host -> decision -> proxy -> engine      (retried elsewhere only before the first byte)

Serves chat, completions, embeddings and models of any OpenAI-compatible engines, `/healthz` (the
process lives), `/readyz` (an engine is there, the host is not behind its snapshot, and nobody
drains), `/version` and `/metrics`. Answers carry `X-Evolver-Decision`, `-Sequence`, `-Policy` and
`-Instance`: which decision, under which snapshot, by which policy, where. `answering` has what
becomes of one request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import aiohttp
from aiohttp import web

from sandbox import contract
from serving_adapter.background import in_background
from serving_adapter.exposition import Registry
from serving_adapter.facts import FactReader
from serving_adapter.gateway.access import ClientKeys, authenticated
from serving_adapter.gateway.answering import Answering, AnswerLimits
from serving_adapter.gateway.engines import SILENCE_S, EngineSet, engine_session
from serving_adapter.gateway.headers import EngineHeaders
from serving_adapter.gateway.holding import HoldQueue
from serving_adapter.gateway.pages import add_pages
from serving_adapter.gateway.proxy import Proxy
from serving_adapter.gateway.upstream import Upstream
from serving_adapter.gateway.visits import ENDPOINTS, Visits
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceFacts
from serving_adapter.request_log import RequestRecord
from serving_adapter.tracing import NO_TRACING, Tracing
from serving_adapter.web_server import MAX_BODY_BYTES, openai_errors


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Limits and periods of a gateway, in seconds and counts."""

    max_attempts: int = 3
    max_hold_s: float = 5.0
    hold_tick_s: float = 0.05
    scrape_s: float = 1.0
    connect_timeout_s: float = 2.0
    idle_timeout_s: float = 600.0  # between two reads of an answer
    silence_s: float = SILENCE_S  # of an engine, while a request waits there, at least
    body_timeout_s: float = 60.0  # for all of a request's body
    stall_timeout_s: float = 60.0  # for a client to take a piece of its answer
    retry_after_s: int = 1


class Gateway:
    """One gateway process: a policy host, engines behind it, clients in front.

    Args:
        host: what decides.
        engines: base URLs, and what is declared of each.
        registry: where the metrics are shown.
        settings: limits and periods.
        upstream: another gateway that moves the bytes to its own workers, told which by a header.
        keys: of the clients; anybody may ask when there are none.
        headers: what passes to engines.
        tracing: spans of requests.
        on_request: told of every request at its end.
        facts: reads requests; one of its own without.
    """

    def __init__(
        self,
        host: PolicyHost,
        engines: Mapping[str, InstanceFacts | None],
        registry: Registry,
        *,
        settings: GatewaySettings | None = None,
        upstream: Upstream | None = None,
        keys: ClientKeys | None = None,
        headers: EngineHeaders | None = None,
        tracing: Tracing = NO_TRACING,
        on_request: Callable[[RequestRecord], None] = lambda _: None,
        facts: FactReader | None = None,
    ) -> None:
        self.host = host
        self.settings = settings or GatewaySettings()
        self.visits = Visits(
            host,
            registry,
            max_hold_s=self.settings.max_hold_s,
            hold_tick_s=self.settings.hold_tick_s,
            scrape_s=self.settings.scrape_s,
            on_request=on_request,
            facts=facts,
        )
        self._at_start = dict(engines)
        self._upstream = upstream
        self._keys = keys
        self._answering = Answering(
            self.visits,
            AnswerLimits(
                max_attempts=self.settings.max_attempts,
                body_timeout_s=self.settings.body_timeout_s,
                retry_after_s=self.settings.retry_after_s,
            ),
            headers=headers or EngineHeaders(),
            tracing=tracing,
        )

    def application(self) -> web.Application:
        """The aiohttp application; it opens and closes its connections with itself."""
        known = [authenticated(self._keys)] if self._keys is not None else []
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[openai_errors, *known])
        app.cleanup_ctx.append(self._running)
        for path in ENDPOINTS:
            app.router.add_post(path, self._answering.serve)
        app.router.add_get("/v1/models", self._answering.serve_models)
        app.router.add_get("/v1/models/{model:.+}", self._answering.serve_models)
        app.router.add_get("/version", self._version)
        add_pages(app, self.visits, lambda: self.engines)
        return app

    @property
    def engines(self) -> EngineSet:
        """The engines behind this gateway.

        Raises:
            AdapterError: the application has not started.
        """
        return self._answering.engines

    @property
    def holding(self) -> HoldQueue:
        """The requests that the policy holds."""
        return self.visits.holding

    async def drain(self) -> None:
        """Refuse new requests, and wait until those inside have ended."""
        await self.visits.drain()

    async def _running(self, _: web.Application) -> AsyncIterator[None]:
        settings = self.settings
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_timeout_s, sock_read=settings.idle_timeout_s
        )
        async with engine_session() as session:
            engines = EngineSet(self.host, session, self._upstream, settings.silence_s)
            for url, facts in self._at_start.items():
                engines.add(url, facts)
            await engines.follow_upstream()
            self._answering.start(engines, Proxy(session, timeout, settings.stall_timeout_s))
            following = () if self._keys is None else (self._keys.follow(),)
            async with self.visits.running(engines), in_background(*following):
                yield

    async def _version(self, _: web.Request) -> web.Response:
        live = self.host.live
        state = {
            "version": _installed(),
            "contract": contract.CONTRACT_VERSION,
            "sequence": live.sequence,
            "policy": live.digest,
        }
        return web.json_response(state)


def _installed() -> str:
    try:
        return version("evolver")
    except PackageNotFoundError:  # run from its sources
        return "unknown"
