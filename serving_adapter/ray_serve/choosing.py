"""Chooses replicas of one Serve deployment with a policy host; knows nothing of Ray's classes.

One chooser belongs to one router object, and so to one loop of one process; the snapshot file is
what all of them have in common. Rows are made of what Serve's router has: how many requests each
replica has, and what its `record_routing_stats` said last. All else stays missing.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from serving_adapter.decision import BEHIND, HELD_TOO_LONG, Decision, Outcome
from serving_adapter.errors import BadBody
from serving_adapter.facts import SESSION_HEADER, TENANT_HEADER, FactReader, RequestFacts
from serving_adapter.hash_key import known_key
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceFacts
from serving_adapter.request_log import RequestOutcome, Visit
from serving_adapter.safety.checks import Holding, held_by_policy
from telemetry.engine_signals import MOST, EngineSignals

_STATUS = {
    RequestOutcome.OK: 200,
    RequestOutcome.REJECTED: 429,
    RequestOutcome.ENGINE_ERROR: 500,
}
_STATS = ("running", "waiting", "kv_capacity_tokens", "preemptions")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One replica as Serve's router knows it.

    Attributes:
        name: stays with it.
        queue_len: requests inside it, this router's and others'; None when not known.
        stats: what its `record_routing_stats` returned last; see `docs/ray-serve.md`.
        max_ongoing: requests that it takes at once.
    """

    name: str
    queue_len: int | None
    stats: Mapping[str, Any]
    max_ongoing: int


@dataclass(slots=True, eq=False)
class RoutedRequest:
    """One request from its arrival to its end; what decided it first decides it to the end.

    Attributes:
        visit: `failed` are replicas that were chosen and had no room.
        chosen: the latest one.
        over: it has ended.
    """

    number: str
    visit: Visit
    chosen: int = -1
    held_count: int = 0
    held_since_s: float = math.nan
    held_by: str = ""
    over: bool = False

    @property
    def facts(self) -> RequestFacts:
        """What is known of it."""
        return self.visit.facts


@dataclass(slots=True)
class _Known:
    """What the table knows of one replica."""

    instance_id: int
    stats: Mapping[str, Any] = field(default_factory=dict)
    waiting: int = 0


class Chooser:
    """Decides for one deployment; `on_decision` is told of each decision, with its request."""

    def __init__(
        self,
        host: PolicyHost,
        *,
        max_hold_s: float = 5.0,
        on_decision: Callable[[RoutedRequest, Decision, str], None] = lambda *_: None,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        self._host, self._max_hold_s, self._told = host, max_hold_s, on_decision
        self._unix_s = unix_s
        self._known: dict[str, _Known] = {}
        # Routers of one host agree on numbers of sessions and tenants; prompts nobody logs here.
        self._reader = FactReader(known_key(host.state), hash_prompts=False)
        self._held: dict[RoutedRequest, None] = {}
        host.watchdog.held = self._standing
        # Queue lengths are this router's own; stats have their age in the rows.
        host.watchdog.scrape_s = math.inf

    def request(
        self, number: str, body: Mapping[str, Any] | None, session: str = "", tenant: str = ""
    ) -> RoutedRequest:
        """A request that has just come in; without a body nothing is known of its lengths."""
        headers = {SESSION_HEADER: session, TENANT_HEADER: tenant}
        now_s = self._host.now_s()
        try:
            facts = self._reader.read(body or {}, headers, now_s)
        except BadBody:  # the replica will say so
            body, facts = None, self._reader.read({}, headers, now_s)
        if not body:
            facts = replace(facts, prompt_tokens=-1, cached_tokens=-1)
        facts = replace(facts, stream=False)  # no token of an answer passes by here
        return RoutedRequest(number, Visit("serve", self._unix_s(), facts))

    def choose(self, request: RoutedRequest, candidates: Sequence[Candidate]) -> str | Outcome:
        """The name of a replica, or that the request is held, rejected, or finds none.

        A request that is asked about again was not taken by the replica it was sent to, or was
        held; it keeps the version that decided first.
        """
        names, visit = self._bring_up_to_date(candidates), request.visit
        if request.chosen >= 0:
            visit.failed |= {request.chosen}
        if visit.failed >= names.keys():
            visit.failed = frozenset()
        if visit.live is None:
            visit.live = self._host.live
        decision = self._decide(request)
        name = names.get(decision.instance_id, "")
        request.chosen = decision.instance_id if name else -1
        visit.attempts += bool(name)
        self._note_held(request, decision)
        self._told(request, decision, name)
        if decision.outcome is Outcome.REJECTED:
            self.ended(request, RequestOutcome.REJECTED)
        return name or decision.outcome

    def served(self, request: RoutedRequest, name: str) -> None:
        """A replica has taken it; the session's next call is told where this one went."""
        known = self._known.get(name)
        self._held.pop(request, None)
        request.visit.sent_s = self._host.now_s()
        if known is not None:
            self._reader.ended(request.facts, known.instance_id, 0)

    def ended(self, request: RoutedRequest, outcome: RequestOutcome) -> None:
        """It was answered or refused, or nobody waits for it any more; only the first end counts.

        The watchdog compares what became of it, as behind every door.
        """
        self._held.pop(request, None)
        if request.over:
            return
        request.over = True
        request.visit.ended(outcome, _STATUS.get(outcome, 0))
        self._host.ended(request.facts, request.visit.record(self._host.now_s()))

    def left_while_pending(self, request: RoutedRequest, pending: asyncio.Future[Any]) -> None:
        """What it waited for a replica with is done: unless it got one, it has ended.

        One that stayed here as held would count against the policy for ever.
        """
        if pending.cancelled() or pending.exception() is not None:
            self.ended(request, RequestOutcome.ABANDONED)

    def _decide(self, request: RoutedRequest) -> Decision:
        host, visit = self._host, request.visit
        held_s = host.now_s() - request.held_since_s
        reason = HELD_TOO_LONG if held_s >= self._max_hold_s else BEHIND if host.behind else ""
        if reason == HELD_TOO_LONG:
            host.watchdog.held_too_long(request.held_by, held_s)
        if reason:
            return host.fallback(
                request.facts, reason, visit.failed, held=reason == HELD_TOO_LONG, live=visit.live
            )
        return host.route(
            request.facts, exclude=visit.failed, held_count=request.held_count, live=visit.live
        )

    def _note_held(self, request: RoutedRequest, decision: Decision) -> None:
        if decision.outcome is not Outcome.HELD:
            request.visit.decisions.append(decision)
            self._held.pop(request, None)
            return
        request.held_count += 1
        request.held_by = decision.digest
        if math.isnan(request.held_since_s):
            request.held_since_s = self._host.now_s()
        self._held[request] = None

    def _standing(self) -> dict[str, Holding]:
        """What each policy holds, by its digest; asked on this loop."""
        held = ((one.held_by, one.held_since_s) for one in self._held)
        return held_by_policy(held, self._host.now_s())

    def _bring_up_to_date(self, candidates: Sequence[Candidate]) -> dict[int, str]:
        """The table as Serve has it now; the ids of its replicas."""
        table, now = self._host.table, {one.name for one in candidates}
        for name in self._known.keys() - now:
            table.remove(self._known.pop(name).instance_id)
        names, running = {}, {}
        for one in candidates:
            known = self._known.get(one.name)
            if known is None:
                seats = InstanceFacts(max_num_seqs=one.max_ongoing)
                known = self._known[one.name] = _Known(table.add(seats))
            if one.stats is not known.stats:
                self._read_stats(known, one.stats)
            unknown, queue_len = one.queue_len is None, one.queue_len or 0
            running[known.instance_id] = -1 if unknown else max(0, queue_len - known.waiting)
            names[known.instance_id] = one.name
        table.set_running(running)
        return names

    def _read_stats(self, known: _Known, stats: Mapping[str, Any]) -> None:
        """What a replica says of its engine, under the names of `EngineSignals`."""
        known.stats = stats
        if not stats:
            return
        counts = {name: _count(stats.get(name)) for name in _STATS}
        usage = _number(stats.get("kv_usage"))
        signals = EngineSignals(**counts, kv_usage=min(usage, 1.0))
        age_s = self._unix_s() - _number(stats.get("unix_s"))
        asked_s = self._host.now_s() - (max(age_s, 0.0) if age_s == age_s else 0.0)
        self._host.table.scraped(known.instance_id, signals, asked_s)
        known.waiting = max(0, signals.waiting)


def body_of(args: Sequence[object]) -> dict[str, Any] | None:
    """The parts of an OpenAI request that are measured, when the first argument is one."""
    first = args[0] if args else None
    names = ("messages", "prompt", "max_tokens", "max_completion_tokens", "stream", "user")
    if isinstance(first, Mapping):
        found = {name: first[name] for name in names if name in first}
    else:
        found = {name: value for name in names if (value := getattr(first, name, None)) is not None}
    if not found.keys() & {"messages", "prompt"}:
        return None
    messages = found.get("messages")
    if isinstance(messages, Sequence) and not isinstance(messages, str):
        found["messages"] = [_plain(one) for one in messages]
    return found


def _plain(message: object) -> object:
    """A message as a mapping, whatever class it has."""
    if isinstance(message, Mapping):
        return dict(message)
    return {"content": getattr(message, "content", None)}


def _count(value: object) -> int:
    number = _number(value)
    return -1 if math.isnan(number) else int(number)


def _number(value: object) -> float:
    """A number that is not negative; NaN for whatever else a replica reports."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if 0 <= value < MOST else math.nan
