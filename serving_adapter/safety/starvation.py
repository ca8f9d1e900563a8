"""Who gets nothing: a tenant that waits far longer than others, an engine that stands idle.

A tenant's waits are compared with those of other tenants for requests of about the same size, since
a long prompt takes its time. One that sends more than its part may be made to wait, as long as it
gets a part; only one that gets next to nothing is starved whatever it sends. An engine is starved
when it stands idle while engines of its own kind have a queue and the policy goes on adding to it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from serving_adapter.facts import RequestFacts
from serving_adapter.request_log import RequestOutcome, RequestRecord
from serving_adapter.safety.checks import Reading
from serving_adapter.safety.limits import LiveLimits

MAX_WAITS = 2000
LOOK_S = 1.0
SUSPECTS = 5  # tenants that waited longest are looked at
COMPARABLE = 3  # waits of others that make a usual one
SHORTEST_S = 1e-3
LONG_QUEUE = 2  # one request that waits for its first token may be under way already


@dataclass(frozen=True, slots=True)
class Wait:
    """How long one request waited that a policy placed.

    Attributes:
        at_s: when it ended, on the host's clock.
        digest: of the policy.
        alike: equal for requests whose waits may be compared.
        offered_tokens, served_tokens: what it asked for, and what it got.
    """

    at_s: float
    digest: str
    tenant: int
    alike: tuple[bool, bool, int]
    wait_s: float
    offered_tokens: int
    served_tokens: int


def wait_of(facts: RequestFacts, record: RequestRecord, now_s: float) -> Wait | None:
    """What a request that has ended says about waiting; None when it says nothing.

    Without a stream nobody sees the first token, so only the time in the gateway counts. What was
    retried waited for an engine that failed.
    """
    told = (RequestOutcome.OK, RequestOutcome.ABANDONED)
    if record.outcome not in told or record.attempts > 1 or not record.digest:
        return None
    wait_s = record.ttft_s if record.stream else record.waited_s
    if math.isnan(wait_s):  # it left before anything came: it waited that long at least
        wait_s = record.e2e_s
    size = max(1, facts.prompt_tokens - facts.cached_tokens)
    tokens = record.prompt_tokens + record.output_tokens
    return Wait(
        at_s=now_s,
        digest=record.digest,
        tenant=record.tenant,
        alike=(record.stream, record.online, size.bit_length()),
        wait_s=wait_s,
        offered_tokens=tokens,
        served_tokens=tokens if record.outcome is RequestOutcome.OK else 0,
    )


@dataclass(slots=True)
class TenantCheck:
    """One tenant waits far longer than the others under one policy."""

    limits: LiveLimits
    _waits: deque[Wait] = field(default_factory=lambda: deque(maxlen=MAX_WAITS))
    _looked_s: float = -math.inf

    def add(self, wait: Wait) -> None:
        """One request has ended."""
        self._waits.append(wait)

    def look(self, now_s: float) -> str:
        """What is wrong, or nothing."""
        if now_s - self._looked_s < LOOK_S:
            return ""
        self._looked_s = now_s
        while self._waits and now_s - self._waits[0].at_s > self.limits.starve_window_s:
            self._waits.popleft()
        by_tenant = defaultdict[int, list[Wait]](list)
        for wait in self._waits:
            by_tenant[wait.tenant].append(wait)
        usual_s = {
            tenant: median(wait.wait_s for wait in waits)
            for tenant, waits in by_tenant.items()
            if len(waits) >= self.limits.starve_requests
        }
        worst = sorted(usual_s, key=lambda tenant: -usual_s[tenant])[:SUSPECTS]
        for tenant in worst if len(by_tenant) > 1 else ():
            if usual_s[tenant] < self.limits.starve_s or self._has_its_part(tenant, by_tenant):
                continue
            if self._stands_out(tenant):
                waited = f"{usual_s[tenant]:.3g} s"
                return f"one of {len(by_tenant)} tenants waited {waited}, others far less"
        return ""

    def _has_its_part(self, tenant: int, by_tenant: Mapping[int, list[Wait]]) -> bool:
        """Whether it sends more than its part, and gets something like a part all the same."""
        offered = {one: sum(w.offered_tokens for w in by_tenant[one]) for one in by_tenant}
        served = {one: sum(w.served_tokens for w in by_tenant[one]) for one in by_tenant}
        equal = 1.0 / len(by_tenant)
        greedy = offered[tenant] > self.limits.starve_greed * equal * sum(offered.values())
        return greedy and served[tenant] >= 0.5 * equal * sum(served.values())

    def _stands_out(self, tenant: int) -> bool:
        """Whether most of its waits are many times those of others for requests alike."""
        others = defaultdict[tuple[bool, bool, int], list[float]](list)
        for wait in self._waits:
            if wait.tenant != tenant:
                others[wait.alike].append(wait.wait_s)
        usual_s = {
            alike: max(SHORTEST_S, median(waits_s))
            for alike, waits_s in others.items()
            if len(waits_s) >= COMPARABLE
        }
        times = [
            wait.wait_s / usual_s[wait.alike]
            for wait in self._waits
            if wait.tenant == tenant and wait.alike in usual_s
        ]
        limits = self.limits
        return len(times) >= limits.starve_requests and median(times) > limits.starve_factor


@dataclass(slots=True)
class IdleEngineCheck:
    """An engine has nothing to do while the policy adds to queues elsewhere."""

    limits: LiveLimits
    _idle: dict[int, tuple[float, int]] = field(default_factory=dict)
    _picks: Mapping[int, int] = field(default_factory=dict)

    def look(self, reading: Reading) -> str:
        """What is wrong, or nothing."""
        longest = Counter[object]()
        for engine in reading.engines.values():
            longest[engine.kind] = max(longest[engine.kind], engine.queued)
        placed, now_s = sum(reading.picks.values()), reading.at_s
        # What it was sent since the last look it may have finished already.
        self._idle = {
            number: self._idle.get(number, (now_s, placed))
            for number, engine in reading.engines.items()
            if engine.outstanding == 0
            and longest[engine.kind] >= LONG_QUEUE
            and reading.picks.get(number, 0) == self._picks.get(number, 0)
        }
        self._picks = reading.picks
        for since_s, before in self._idle.values():
            idle_s, added = now_s - since_s, placed - before
            if idle_s >= self.limits.starve_engine_s and added >= self.limits.starve_requests:
                return f"an engine stood idle for {idle_s:.3g} s while requests queued elsewhere"
        return ""
