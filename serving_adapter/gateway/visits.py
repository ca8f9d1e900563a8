"""Requests between clients and engines, from arrival to their line in the log, whatever the door.

    with visits.visiting("chat", facts) as visit:
        decision = await visits.decide(visit)      # HOLD is waited for
        flight = visits.sent(visit, decision.instance_id)
        visits.tokens(visit, flight, 1)            # as the answer passes by
        visits.left(flight)
        visits.answered(visit, 200, meter)

A request keeps what was live at its first decision. What a door cannot serve it refuses in the
same words.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass

from serving_adapter.background import in_background
from serving_adapter.decision import Decision, Outcome
from serving_adapter.exposition import Registry
from serving_adapter.facts import FactReader, RequestFacts
from serving_adapter.gateway.engines import EngineSet
from serving_adapter.gateway.gateway_metrics import GatewayMetrics
from serving_adapter.gateway.holding import HoldQueue
from serving_adapter.gateway.meter import AnswerMeter
from serving_adapter.host import PolicyHost
from serving_adapter.instance_rows import Flight
from serving_adapter.openai_api import error_object
from serving_adapter.planning.window import Tally
from serving_adapter.request_log import RequestOutcome, RequestRecord, Visit

ENDPOINTS: Mapping[str, str] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
}
"""Paths whose bodies a policy's facts are read from."""
MODELS = "models"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served; `reason` begins the sentence that a client reads."""

    outcome: RequestOutcome
    status: int
    reason: str

    def body(self, retry_after_s: int) -> bytes:
        """The OpenAI error object."""
        kind = "rate_limit_error" if self.status == 429 else "service_unavailable_error"
        message = f"{self.reason}: try again in {retry_after_s} s."
        return error_object(message, kind, self.status)


DRAINING = Refusal(RequestOutcome.NO_ENGINE, 503, "The gateway drains")
REJECTED = Refusal(RequestOutcome.REJECTED, 429, "The policy refused")
NO_ENGINE = Refusal(RequestOutcome.NO_ENGINE, 503, "No engine is free")
NO_ANSWER = Refusal(RequestOutcome.ENGINE_ERROR, 502, "No engine answered")


class Visits:
    """The requests that are inside one door.

    Attributes:
        holding: those that the policy holds.
        facts: reads requests, and learns from their answers.
        active: how many are inside.
        tally: what a planner's window is made of, of this process alone.
        draining: no new ones are taken.
    """

    def __init__(
        self,
        host: PolicyHost,
        registry: Registry,
        *,
        max_hold_s: float,
        hold_tick_s: float,
        scrape_s: float,
        on_request: Callable[[RequestRecord], None] = lambda _: None,
        facts: FactReader | None = None,
    ) -> None:
        self.host = host
        self.metrics = GatewayMetrics(registry)
        self.holding = HoldQueue(host, max_hold_s, hold_tick_s)
        self.facts = facts or FactReader()
        self.active = 0
        self.tally = Tally()
        self.draining = False
        self._scrape_s = scrape_s
        self._on_request = on_request
        host.watchdog.scrape_s = scrape_s

    @contextlib.asynccontextmanager
    async def running(self, engines: EngineSet) -> AsyncIterator[None]:
        """Scrape the engines, ask for held requests again, and watch the policy, while entered."""
        scraping = engines.run(self._scrape_s, self.holding.capacity_changed)
        async with in_background(scraping, self.holding.run()), self.host.running():
            yield

    @contextlib.contextmanager
    def visiting(
        self,
        endpoint: str,
        facts: RequestFacts,
        told: Callable[[RequestRecord], None] = lambda _: None,
    ) -> Iterator[Visit]:
        """A request is inside while entered; when it leaves, its record is written and `told`."""
        visit = Visit(endpoint, time.time(), facts)
        self.active += 1
        if endpoint != MODELS:
            self.tally.arrived(facts.arrived_s, facts.prompt_tokens)
        try:
            yield visit
        finally:
            self.active -= 1
            record = visit.record(self.host.now_s())
            told(record)
            self.metrics.ended(record)
            self.host.ended(visit.facts, record)
            if endpoint != MODELS:
                self._count(record)
            self._on_request(record)

    def _count(self, record: RequestRecord) -> None:
        """When an answer in one piece was begun, and what a prompt waited for, nobody here knows.

        Neither does anybody know the length of an answer whose tokens were not counted.
        """
        self.tally.ended(
            record.outcome,
            prompt_tokens=record.prompt_tokens,
            cached_tokens=record.cached_tokens,
            output_tokens=record.output_tokens or -1,
            ttft_s=record.ttft_s if record.stream else math.nan,
            e2e_s=record.e2e_s,
        )

    async def decide(self, visit: Visit, *, by_policy: bool = True) -> Decision:
        """Where the request goes now, or why nowhere; never `HELD`.

        Args:
            visit: the request; `visit.failed` names the engines that are out of the question.
            by_policy: False where no policy is to decide, as for a list of models.
        """
        live = visit.live = visit.live or self.host.live
        if by_policy:
            decision = self.host.route(visit.facts, exclude=visit.failed, live=live)
        else:
            decision = self.host.fallback(visit.facts, visit.endpoint, visit.failed, live=live)
        if decision.outcome is Outcome.HELD:
            by = decision.digest
            decision = await self.holding.wait(visit.facts, visit.failed, live, by)
        visit.decisions.append(decision)
        return decision

    def sent(self, visit: Visit, instance_id: int) -> Flight:
        """One attempt begins at one engine."""
        visit.attempts += 1
        visit.sent_s = self.host.now_s()
        return self.host.table.dispatch(instance_id, visit.facts, visit.sent_s)

    def tokens(self, visit: Visit, flight: Flight, count: int) -> None:
        """So many tokens of the answer have passed."""
        if count < 1:
            return
        now_s = self.host.now_s()
        if flight.done_tokens == 0:
            visit.first_token_s = now_s
        visit.last_token_s = now_s
        self.host.table.tokens(flight, count, now_s)

    def left(self, flight: Flight) -> None:
        """The attempt is over, however it went."""
        self.host.table.finish(flight)
        self.holding.capacity_changed()

    def answered(
        self, visit: Visit, status: int, meter: AnswerMeter, *, broken: bool = False
    ) -> None:
        """The answer has passed, or broke off."""
        visit.output_tokens, visit.prompt_tokens = meter.output_tokens, meter.prompt_tokens
        visit.usage, visit.cached_tokens = meter.from_usage, meter.cached_tokens
        if broken:
            visit.ended(RequestOutcome.BROKEN, status)
        elif status >= 500:
            visit.ended(RequestOutcome.ENGINE_ERROR, status)
        elif status >= 400:
            visit.ended(RequestOutcome.CLIENT_ERROR, status)
        else:
            visit.ended(RequestOutcome.OK, status)
            if meter.output_tokens:
                instance_id = visit.decisions[-1].instance_id
                self.facts.ended(visit.facts, instance_id, meter.output_tokens)

    async def drain(self) -> None:
        """Take no new requests, and wait until those inside have left."""
        self.draining = True
        while self.active:
            await asyncio.sleep(0.01)

    def page(self, engines: EngineSet) -> str:
        """The metrics, as they are now."""
        return self.metrics.render(
            active=self.active,
            held=len(self.holding),
            engines_open=engines.open_count(),
            draining=self.draining,
        )

    def state(self, engines: EngineSet) -> dict[str, object]:
        """What a readiness page says; `ready` is whether requests are taken."""
        count, live, behind = engines.open_count(), self.host.live, self.host.behind
        return {
            "ready": count > 0 and not self.draining and not behind,
            "draining": self.draining,
            "behind": behind,
            "engines": count,
            "sequence": live.sequence,
            "policy": live.digest,
        }


def headers_of(decision: Decision) -> dict[str, str]:
    """What an answer says of the decision behind it."""
    return {
        "X-Evolver-Decision": decision.id,
        "X-Evolver-Sequence": str(decision.sequence),
        "X-Evolver-Policy": decision.digest,
        "X-Evolver-Instance": str(decision.instance_id),
    }
