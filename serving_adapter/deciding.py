"""One routing decision: the live policy, its fuel and validity check, and the fallbacks behind it.

What is live is one immutable `Live` object behind one attribute. A decision reads the attribute
once and works with what it read, so it never sees half a swap, and it carries the sequence and
digest of what made it. A policy that faults is ejected before the decision returns; the same
decision falls back to the last good policy, then to least outstanding requests, which cannot fail.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sandbox import contract, frame
from sandbox.errors import PolicyFault
from serving_adapter.activation import Ready, Rows, is_valid, missing_rows
from serving_adapter.decision import (
    BUILT_IN_DIGEST,
    NO_INSTANCE,
    Author,
    Decision,
    DecisionInput,
    Fault,
    Outcome,
    RecentInputs,
)
from serving_adapter.facts import RequestFacts
from serving_adapter.host_metrics import HostMetrics
from serving_adapter.instances import InstanceTable, columns_of

_log = logging.getLogger("evolver.host")

INVALID_CHOICE = "invalid-choice"
FAULT_KINDS = {
    frame.FUEL: "fuel",
    frame.ZERO_DIVISION: "zero-division",
    frame.INDEX: "index",
    frame.OVERFLOW: "overflow",
    frame.NOT_A_NUMBER: "not-a-number",
    frame.SCRATCH: "scratch",
}
"""Short names of the engines' faults, for metrics and logs."""

FROM_FACTS = (
    "prompt_tokens",
    "predicted_output_tokens",
    "predicted_output_error",
    "tenant",
    "session",
    "turn",
    "last_instance",
    "prefix_key",
    "weight",
    "online",
)
"""Fields of `contract.Request` that are copied from `RequestFacts`."""

_OUTCOMES = {
    contract.HOLD: Outcome.HELD,
    contract.REJECT: Outcome.REJECTED,
    NO_INSTANCE: Outcome.NO_ENGINE,
}


@dataclass(frozen=True, slots=True)
class Live:
    """What decides now. `active` is None for the built-in default, and after an ejection.

    `expires_unix_s` is when the statement that put both policies live ends, on the wall clock.
    """

    sequence: int = 0
    active: Ready | None = None
    last_good: Ready | None = None
    expires_unix_s: float = math.inf

    @property
    def digest(self) -> str:
        """Of the first policy that will be asked."""
        ready = self.active or self.last_good
        return ready.digest if ready else BUILT_IN_DIGEST


class Decider:
    """Decides with whatever `live` holds. Belongs to one event loop."""

    def __init__(
        self,
        table: InstanceTable,
        metrics: HostMetrics,
        on_fault: Callable[[Fault], None],
        clock: Callable[[], float],
        *,
        fuel: int,
        router: int,
    ) -> None:
        self.live = Live()
        self.recent = RecentInputs()
        self._table = table
        self._metrics = metrics
        self._on_fault = on_fault
        self._now_s = clock
        self._fuel = fuel
        self._router = router
        self._random = random.Random()
        self._decisions = 0
        self._request = _new_request()
        self._columns = columns_of(self._request)

    def route(self, facts: RequestFacts, exclude: frozenset[int], held_count: int) -> Decision:
        """Decide where a request goes now; see `PolicyHost.route`."""
        started_s = time.perf_counter()
        self._decisions += 1
        live = self.live
        rows = self._table.offered(facts, self._now_s(), exclude)
        if not len(rows):
            return self._decided(live, started_s, NO_INSTANCE, Author.BUILT_IN, "")
        request = self._fill_request(facts, held_count)
        reasons: list[str] = []
        for author, ready in ((Author.ACTIVE, live.active), (Author.LAST_GOOD, live.last_good)):
            if ready is None:
                continue
            if ready.router is None:
                break
            choice, fault = self._ask(live, ready, request, rows)
            if choice is not None:
                return self._decided(live, started_s, choice, author, ",".join(reasons))
            reasons.append(fault)
            self._eject(ready, fault)
        choice = self._least_outstanding(rows)
        return self._decided(live, started_s, choice, Author.BUILT_IN, ",".join(reasons))

    def fallback(self, facts: RequestFacts, reason: str, exclude: frozenset[int]) -> Decision:
        """Decide without any policy; see `PolicyHost.fallback`."""
        started_s = time.perf_counter()
        self._decisions += 1
        rows = self._table.offered(facts, self._now_s(), exclude)
        choice = self._least_outstanding(rows) if len(rows) else NO_INSTANCE
        return self._decided(self.live, started_s, choice, Author.BUILT_IN, reason)

    def _ask(self, live: Live, ready: Ready, request: Rows, rows: Rows) -> tuple[int | None, str]:
        """One policy's valid choice, or None and the kind of its fault."""
        rotation = (self._router * 7919 + self._decisions) % len(rows)
        memory = ready.memory.tobytes()
        choice, fault = self._call(ready, request, rows, rotation)
        valid = choice is not None and is_valid(choice, rows)
        fault = fault if valid or choice is None else INVALID_CHOICE
        given = DecisionInput(
            number=self._decisions,
            sequence=live.sequence,
            digest=ready.digest,
            request=request.tobytes(),
            instances=rows.tobytes(),
            memory=memory,
            rotation=rotation,
            fuel=self._fuel,
            choice=choice,
            fault=fault,
        )
        self.recent.add(given)
        return (choice if valid else None), fault

    def _call(
        self, ready: Ready, request: Rows, rows: Rows, rotation: int
    ) -> tuple[int | None, str]:
        if ready.router is None:
            return None, "no-route"
        try:
            return int(ready.router.route(request, rows, ready.memory, rotation, self._fuel)), ""
        except PolicyFault as stopped:
            return None, FAULT_KINDS.get(stopped.kind, "other")
        # Whatever a policy manages to raise, the request must still be served.
        except Exception as error:
            return None, type(error).__name__

    def _least_outstanding(self, rows: Rows) -> int:
        """The engine with the fewest requests; equal ones in turn."""
        turn = self._decisions % len(rows)
        order = np.roll(np.arange(len(rows)), -turn)
        best = order[np.argmin(self._table.outstanding(rows)[order])]
        return int(rows["id"][best])

    def _eject(self, ready: Ready, kind: str) -> None:
        live = self.live
        if live.active is ready:
            self.live = replace(live, active=None)
        elif live.last_good is ready:
            self.live = replace(live, last_good=None)
        fault = Fault(live.sequence, ready.digest, kind, self._decisions)
        self._metrics.ejected(kind, self.live.sequence, self.live.digest)
        _log.error("policy %s ejected: %s", ready.digest[:12], kind)
        self._on_fault(fault)

    def _decided(
        self, live: Live, started_s: float, choice: int, author: Author, reason: str
    ) -> Decision:
        author_of = {Author.ACTIVE: live.active, Author.LAST_GOOD: live.last_good}.get(author)
        decision = Decision(
            number=self._decisions,
            instance_id=choice,
            sequence=live.sequence,
            digest=author_of.digest if author_of else BUILT_IN_DIGEST,
            outcome=_OUTCOMES.get(choice, Outcome.ROUTED),
            author=author,
            reason=reason,
            duration_s=time.perf_counter() - started_s,
        )
        self._metrics.decided(decision)
        return decision

    def _fill_request(self, facts: RequestFacts, held_count: int) -> Rows:
        of, now_s = self._columns, self._now_s()
        of["now_s"][0], of["age_s"][0] = now_s, now_s - facts.arrived_s
        of["seed"][0] = self._random.getrandbits(62)
        of["held_count"][0] = held_count
        for name in FROM_FACTS:
            of[name][0] = getattr(facts, name)
        return self._request


def _new_request() -> Rows:
    """One `contract.Request` record with what is true of every request at a gateway."""
    request = missing_rows(contract.Request, 1)
    for name in ("done_tokens", "workflow_done_calls", "branch"):
        request[name] = 0
    for name in ("held_count", "preempted_count", "moved_count"):
        request[name] = 0
    request["class_id"] = request["branch_count"] = 1
    return request
