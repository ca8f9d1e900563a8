"""The requests that LiteLLM's router has inside: what decided them, where they are, how they ended.

LiteLLM copies a request's arguments for every attempt but keeps one metadata dictionary for all, so
a random word in there says which request an attempt belongs to. Ends come late, from its logging
callbacks; an abandoned request has none, so what is too old is ended here.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from serving_adapter.errors import BadBody
from serving_adapter.facts import FactReader, RequestFacts
from serving_adapter.host import PolicyHost
from serving_adapter.instance_rows import Flight
from serving_adapter.request_log import RequestOutcome, RequestRecord, Visit
from serving_adapter.seats import Seats

WORD = "evolver_request"
MAX_REQUESTS = 100_000
METADATA = ("litellm_metadata", "metadata")
TENANTS = ("user_api_key_team_id", "user_api_key_user_id", "user_api_key_hash")


@dataclass(slots=True, eq=False)
class Inside:
    """One request: its visit, the attempt that is under way, and when something last happened."""

    word: str
    visit: Visit
    flight: Flight | None = None
    seen_s: float = 0.0
    held: bool = False
    unwatch: Callable[[], object] = lambda: None


@dataclass(slots=True)
class Requests:
    """The requests inside, at most `MAX_REQUESTS`, the oldest of which are then forgotten.

    Attributes:
        retry_wait_s: after a failed attempt, for the next one to come.
        flight_s: after which an attempt is held to be abandoned.
        on_request: told of every request at its end.
        seats: which of those at an engine it computes.
    """

    host: PolicyHost
    retry_wait_s: float
    flight_s: float
    on_request: Callable[[RequestRecord], None]
    facts: FactReader = field(default_factory=FactReader)
    seats: Seats = field(init=False)
    _inside: OrderedDict[str, Inside] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.seats = Seats(self.host.table)

    def __len__(self) -> int:
        return len(self._inside)

    def of(self, kwargs: MutableMapping[str, Any], body: Mapping[str, Any]) -> Inside:
        """The request that an attempt belongs to, a new one if it is the first."""
        metadata = _metadata(kwargs)
        known = self._inside.get(str(metadata.get(WORD)))
        if known is not None:
            self._left(known)  # a new attempt says that the one before has failed
            return known
        word = secrets.token_hex(8)
        metadata[WORD] = word
        endpoint = "embeddings" if body.get("input") is not None else "chat"
        visit = Visit(endpoint, time.time(), self._facts_of(kwargs, metadata, body))
        visit.live = self.host.live
        inside = self._inside[word] = Inside(word, visit, seen_s=self.host.now_s())
        inside.unwatch = _on_cancel(lambda: self._end(inside))
        while len(self._inside) > MAX_REQUESTS:
            self._end(next(iter(self._inside.values())))
        return inside

    def sent(self, inside: Inside, instance_id: int) -> None:
        """An attempt goes to an engine."""
        now_s, visit = self.host.now_s(), inside.visit
        visit.attempts += 1
        visit.sent_s = inside.seen_s = now_s
        inside.flight = self.host.table.dispatch(instance_id, visit.facts, now_s)
        self.seats.sent(inside.flight)

    def succeeded(self, kwargs: Mapping[str, Any], response: object, first_s: float) -> None:
        """LiteLLM says that an attempt has ended well; `first_s` ago it had its first token."""
        inside = self._reported(kwargs)
        if inside is None:
            return
        visit, now_s = inside.visit, self.host.now_s()
        usage = getattr(response, "usage", None)
        output, prompt = _count(usage, "completion_tokens"), _count(usage, "prompt_tokens")
        visit.output_tokens, visit.prompt_tokens = max(0, output), prompt
        visit.usage = output >= 0
        visit.cached_tokens = _count(getattr(usage, "prompt_tokens_details", None), "cached_tokens")
        if visit.facts.stream:
            visit.first_token_s = max(visit.facts.arrived_s, now_s - first_s)
            visit.last_token_s = now_s
        visit.ended(RequestOutcome.OK, 200)
        if inside.flight is not None and output > 0:
            self.host.table.tokens(inside.flight, output, now_s)
            self.facts.ended(visit.facts, inside.flight.instance_id, output)
        self._end(inside)

    def failed(self, kwargs: Mapping[str, Any], instance_id: int | None) -> None:
        """LiteLLM says that an attempt at an engine has failed; another may follow."""
        inside = self._reported(kwargs)
        flight = inside.flight if inside is not None else None
        # The report may come when another attempt is under way already.
        if inside is not None and flight is not None and flight.instance_id == instance_id:
            self._left(inside)

    def refused(self, inside: Inside, outcome: RequestOutcome, status: int) -> None:
        """No engine gets it."""
        inside.visit.ended(outcome, status)
        self._end(inside)

    def sweep(self) -> None:
        """End what waits for a retry that does not come, and what was abandoned."""
        now_s = self.host.now_s()
        for inside in list(self._inside.values()):
            most_s = self.retry_wait_s if inside.flight is None else self.flight_s
            if now_s - inside.seen_s > most_s and not inside.held:
                self._end(inside)

    def _left(self, inside: Inside) -> None:
        """The attempt under way has left its engine without an answer."""
        flight, inside.flight = inside.flight, None
        inside.seen_s = self.host.now_s()
        if flight is None:
            return
        self._finish(flight)
        inside.visit.failed |= {flight.instance_id}
        inside.visit.ended(RequestOutcome.ENGINE_ERROR, 502)

    def _end(self, inside: Inside) -> None:
        if self._inside.pop(inside.word, None) is None:
            return
        inside.unwatch()
        if inside.flight is not None:
            self._finish(inside.flight)
        record = inside.visit.record(self.host.now_s())
        self.host.ended(inside.visit.facts, record)
        self.on_request(record)

    def _finish(self, flight: Flight) -> None:
        self.host.table.finish(flight)
        self.seats.left(flight)

    def _reported(self, kwargs: Mapping[str, Any]) -> Inside | None:
        params = kwargs.get("litellm_params")
        for holder in (params if isinstance(params, Mapping) else {}, kwargs):
            for name in METADATA:
                metadata = holder.get(name)
                if isinstance(metadata, Mapping) and WORD in metadata:
                    return self._inside.get(str(metadata[WORD]))
        return None

    def _facts_of(
        self, kwargs: Mapping[str, Any], metadata: Mapping[str, Any], body: Mapping[str, Any]
    ) -> RequestFacts:
        """Numbers of a request; its text is measured and left where it is."""
        headers = _headers(kwargs)
        session = metadata.get("session_id") or kwargs.get("litellm_session_id")
        if isinstance(session, str):
            headers.setdefault("x-session-id", session)
        tenant = next((one for name in TENANTS if isinstance(one := metadata.get(name), str)), None)
        now_s = self.host.now_s()
        try:
            return self.facts.read(body, headers, now_s, tenant)
        except BadBody:  # LiteLLM takes more shapes than the API has
            return RequestFacts(arrived_s=now_s, prompt_tokens=1)


def first_token_ago_s(kwargs: Mapping[str, Any], end: object) -> float:
    """How long before its end an answer began; 0 when nobody says."""
    began = kwargs.get("completion_start_time")
    if not isinstance(began, datetime) or not isinstance(end, datetime):
        return 0.0
    return max(0.0, end.timestamp() - began.timestamp())


def _metadata(kwargs: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in METADATA:
        if isinstance(found := kwargs.get(name), dict):
            return found
    fresh: dict[str, Any] = {}
    kwargs["metadata"] = fresh
    return fresh


def _headers(kwargs: Mapping[str, Any]) -> dict[str, str]:
    """Headers of the client, where LiteLLM's proxy passes them on."""
    request = kwargs.get("proxy_server_request")
    headers = request.get("headers") if isinstance(request, Mapping) else None
    if not isinstance(headers, Mapping):
        return {}
    return {name.lower(): value for name, value in headers.items() if isinstance(value, str)}


def _count(usage: object, name: str) -> int:
    value = getattr(usage, name, -1)
    return value if type(value) is int and 0 <= value < 2**31 else -1


def _on_cancel(gone: Callable[[], None]) -> Callable[[], object]:
    """Have it called when whoever asks is cancelled: LiteLLM reports no such end.

    Returns:
        What takes this back: one task may ask for any number of requests, and lives on.
    """
    task = asyncio.current_task()
    if task is None:
        return lambda: None

    def ended(done: asyncio.Task[Any]) -> None:
        if done.cancelled():
            gone()

    task.add_done_callback(ended)
    return lambda: task.remove_done_callback(ended)
