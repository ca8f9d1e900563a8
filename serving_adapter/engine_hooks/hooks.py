"""What an engine's scheduler asks the live policy: order, admission, token budget.

A step looks once at what is live, so it is decided by one version. A policy that faults is ejected
before the question is answered; the same question goes to the next one, then to the engine's own
rule, first come, first served. A policy without a hook leaves that to the engine, too. Order is one
decision about all requests of an engine, so another policy keys all of them anew; keys are asked
for when a request comes and on the re-key tick, as in the simulator.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from sandbox import contract
from sandbox.errors import PolicyFault
from serving_adapter.activation import Ready, missing_rows
from serving_adapter.asking import FAULT_KINDS, Answer
from serving_adapter.decision import BUILT_IN_DIGEST, Author, DecisionInput
from serving_adapter.engine_hooks.decision_file import DecisionFile
from serving_adapter.engine_hooks.engine_view import EngineView
from serving_adapter.engine_hooks.hook_caller import HOOK_FUEL, HookCaller
from serving_adapter.engine_hooks.hook_metrics import HookMetrics
from serving_adapter.host import PolicyHost
from serving_adapter.instances import columns_of
from serving_adapter.live import Live
from serving_adapter.safety.ejection import EjectionKind

NOT_FINITE = "not-finite"
_KNOBS = ("knob_token_budget", "knob_speculation", "knob_offline_share", "knob_finetune_share")
_UNTUNED = (-1, -1, math.nan, math.nan)

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticks:
    """How often what stands is asked about again, in seconds; those of the simulator."""

    rekey_s: float = 0.25
    control_s: float = 1.0


class EngineHooks(Generic[R]):
    """Belongs to the engine's scheduler thread; `host` follows snapshots in another.

    Args:
        host: whose policies were made ready by `prepare_engine_policy`.
        view: the engine.
        name: of this engine, the same after a restart: it says whether it draws a canary.
        decisions: where every decision is logged.
        metrics: where they are counted.
        ticks: how often to ask again.
    """

    def __init__(
        self,
        host: PolicyHost,
        view: EngineView[R],
        *,
        name: str,
        decisions: DecisionFile,
        metrics: HookMetrics,
        ticks: Ticks | None = None,
    ) -> None:
        self._host, self._view, self._name = host, view, name
        self._decisions, self._metrics, self._ticks = decisions, metrics, ticks or Ticks()
        self._request = missing_rows(contract.Request, 1)
        self._instance = missing_rows(contract.Instance, 1)
        self._request_of = columns_of(self._request)
        self._instance_of = columns_of(self._instance)
        # Bytes, because numpy copies a structured row field by field.
        self._request_bytes = self._request.view(np.uint8).data
        self._instance_bytes = self._instance.view(np.uint8).data
        self._blank = bytes(self._request_bytes), bytes(self._instance_bytes)
        self._places: list[tuple[Author, Ready, HookCaller]] = []
        self._live, self._off, self._now_s = Live(), False, 0.0
        self._shown = False
        self._keys: dict[str, tuple[float, int]] = {}
        self._keyed_by: Ready | None = None
        self._rekey_s = self._control_s = -math.inf
        self._tuned_by: Ready | None = None
        self._knobs: tuple[float, ...] = _UNTUNED
        self._refused: tuple[str, int] | None = None
        self._refused_s = math.nan

    def begin_step(self) -> None:
        """Look at what is live; before anything else in a step."""
        slot = self._host.slot
        self._now_s = self._host.now_s()
        self._off = slot.off is not None
        self._shown = False
        if slot.live is not self._live:
            self._live = slot.live
            self._places = self._places_of(self._live)

    def order(self, waiting: Sequence[R], running: Sequence[R]) -> tuple[list[R], list[R]] | None:
        """Both by key, lowest first, so that the last is the first victim; None: leave them.

        Equal keys stay in the order in which they are. What a policy had ordered that is not asked
        any more is put back in order of arrival.
        """
        faulted = False
        for author, ready, caller in self._chain("priority"):
            keys = self._keyed(author, ready, caller, [*waiting, *running])
            if keys is not None:
                self._keys, self._keyed_by = keys, ready
                return self._sorted(waiting, keys), self._sorted(running, keys)
            faulted = True
        if self._keyed_by is None and not faulted:
            return None
        self._keys, self._keyed_by = {}, None
        self._default("priority", len(waiting) + len(running))
        by_arrival = self._view.arrived_s
        return sorted(waiting, key=by_arrival), sorted(running, key=by_arrival)

    def admitted(
        self, waiting: Sequence[R], seats: int, running: int, blocked: Collection[R] = ()
    ) -> int:
        """How many at the head of the queue may run now; the rest must not be looked at.

        Args:
            waiting: in the order in which they would run.
            seats: free ones in the batch.
            running: requests in the batch.
            blocked: wait for something else, so take no seat.
        """
        if seats <= 0:
            self._refused_s = math.nan
            return len(waiting)
        for author, ready, caller in self._chain("admit"):
            count = self._ask_admit(author, ready, caller, waiting, seats, running, blocked)
            if count is not None:
                return count
        self._refused, self._refused_s = None, math.nan
        return len(waiting)

    def token_budget(self) -> int | None:
        """What `tune` asked for last; None: the engine's own."""
        for author, ready, caller in self._chain("tune"):
            if ready is self._tuned_by and self._now_s - self._control_s < self._ticks.control_s:
                break
            if ready is not self._tuned_by:
                self._knobs = _UNTUNED
            self._tuned_by, self._control_s = ready, self._now_s
            started_s = time.perf_counter()
            if self._call(ready, caller, "tune", None) is not None:
                of = self._instance_of
                self._knobs = tuple(of[name][0].item() for name in _KNOBS)
                self._decided("tune", author, ready, 1, started_s)
                break
        else:
            if self._tuned_by is not None:
                self._default("tune", 1)
            self._tuned_by, self._knobs = None, _UNTUNED
        return int(self._knobs[0]) if self._knobs[0] >= 0 else None

    def _chain(self, hook: str) -> Iterator[tuple[Author, Ready, HookCaller]]:
        """Whom to ask, until one of them leaves this to the engine."""
        for author, ready, caller in () if self._off else self._places:
            if self._host.slot.is_latched(ready.digest):
                continue
            if not caller.has(hook):
                return
            yield author, ready, caller

    def _places_of(self, live: Live) -> list[tuple[Author, Ready, HookCaller]]:
        """Who is asked, one after the other; a canary in those engines whose names draw it."""
        places = list(live.chain)
        if live.canary and draws_canary(self._name, live.canary.digest, live.weight):
            places.insert(0, (Author.CANARY, live.canary))
        known = {ready: caller for _, ready, caller in self._places}
        asked = []
        for author, ready in places:
            if ready.loaded is not None:
                rows = self._request, self._instance, ready.memory
                caller = known.get(ready) or HookCaller(ready.loaded, *rows)
                asked.append((author, ready, caller))
        return asked

    def _keyed(
        self, author: Author, ready: Ready, caller: HookCaller, everybody: Sequence[R]
    ) -> dict[str, tuple[float, int]] | None:
        """A key for each request, asked for where there is none; None after a fault."""
        name_of, known = self._view.name_of, self._keys
        due = self._now_s - self._rekey_s >= self._ticks.rekey_s
        if ready is not self._keyed_by:
            known, due = {}, True
        asked = everybody if due else [one for one in everybody if name_of(one) not in known]
        if not asked:
            return known
        started_s = time.perf_counter()
        keys = {} if due else known
        for request in asked:
            name = name_of(request)
            count = known[name][1] if name in known else 0
            key = self._call(ready, caller, "priority", request, keyed_count=count)
            if key is None:
                return None
            keys[name] = key, count + 1
        if due:
            self._rekey_s, self._refused = self._now_s, None
        self._decided("priority", author, ready, len(asked), started_s)
        return keys

    def _sorted(self, requests: Sequence[R], keys: dict[str, tuple[float, int]]) -> list[R]:
        name_of = self._view.name_of
        return sorted(requests, key=lambda request: keys[name_of(request)][0])

    def _ask_admit(
        self,
        author: Author,
        ready: Ready,
        caller: HookCaller,
        waiting: Sequence[R],
        seats: int,
        running: int,
        blocked: Collection[R],
    ) -> int | None:
        """Ask about one after the other until one has to wait; None after a fault.

        The last word on the head of the queue stands until the head or the batch changed.
        """
        asked, started_s, place = 0, time.perf_counter(), 0
        while place < len(waiting) and seats > 0:
            request = waiting[place]
            state = self._view.name_of(request), running + place
            if state != self._refused:
                allowed = self._call(ready, caller, "admit", request)
                if allowed is None:
                    return None
                asked += 1
                self._refused = None if allowed else state
            if self._refused is not None:
                break
            seats -= request not in blocked
            place += 1
            self._seat()
        if asked:
            self._decided("admit", author, ready, asked, started_s)
        if self._stalled(ready, place, len(waiting), running):
            return None
        return place

    def _seat(self) -> None:
        """Count the request that may run as running, for the questions after it."""
        of, tokens = self._instance_of, max(int(self._request_of["prompt_tokens"][0]), 0)
        changes = (("queued_requests", -1), ("queued_prompt_tokens", -tokens),
                   ("running_requests", 1), ("prefill_backlog_tokens", tokens),
                   ("kv_used_tokens", tokens))  # fmt: skip
        for name, change in changes:
            if of[name][0] >= 0:
                of[name][0] = max(0, of[name][0] + change)

    def _stalled(self, ready: Ready, admitted: int, waiting: int, running: int) -> bool:
        """Whether the policy lets the engine stand still, or its queue wait for ever."""
        if admitted or not waiting or self._refused is None:
            self._refused_s = math.nan
            return False
        if math.isnan(self._refused_s):
            self._refused_s = self._now_s
        limits, for_s = self._host.limits, self._now_s - self._refused_s
        self._metrics.refused(for_s)
        if for_s <= (limits.stall_cap_s if running else limits.stall_idle_s):
            return False
        reason = f"it admitted nobody for {for_s:.3g} s with {running} requests running"
        self._out(ready, "admit", "stall", EjectionKind.STALL, reason)
        return True

    def _call(
        self,
        ready: Ready,
        caller: HookCaller,
        hook: str,
        request: R | None,
        keyed_count: int = 0,
    ) -> float | None:
        """One answer, or None after a fault, for which the policy is out."""
        self._show(request, keyed_count)
        decider = self._host.decider
        memory = ready.memory.tobytes()
        before_s, started_s = time.thread_time(), time.perf_counter()
        decider.asking = ready, started_s
        fault, value = "", math.nan
        try:
            value = caller.call(hook)
            fault = "" if math.isfinite(value) else NOT_FINITE
        except PolicyFault as stopped:
            fault = FAULT_KINDS.get(stopped.kind, "other")
        # Whatever a policy manages to raise, the engine must go on.
        except Exception as error:
            fault = type(error).__name__
        ended_s = time.perf_counter()
        decider.asking = None
        busy_s = ended_s - started_s
        if busy_s > self._host.limits.slow_p99_s:  # only then it matters who had the processor
            busy_s = min(busy_s, time.thread_time() - before_s)
        decider.judge(ready, Answer(None), busy_s, ended_s)
        if not fault:
            return value
        self._keep(ready, memory, fault, ended_s - started_s)
        self._out(ready, hook, fault, EjectionKind.ERROR, f"{hook}: {fault}")
        return None

    def _show(self, request: R | None, keyed_count: int) -> None:
        if not self._shown:
            self._shown = True
            self._instance_bytes[:] = self._blank[1]
            self._view.show_instance(self._instance_of)
        for name, value in zip(_KNOBS, self._knobs, strict=True):
            self._instance_of[name][0] = value
        self._request_bytes[:] = self._blank[0]
        self._request_of["now_s"][0] = self._now_s
        self._request_of["keyed_count"][0] = keyed_count
        if request is not None:
            self._view.show_request(self._request_of, request)

    def _keep(self, ready: Ready, memory: bytes, fault: str, took_s: float) -> None:
        """What made a policy fault goes into the dump of its ejection."""
        self._host.decider.recent.add(DecisionInput(
            number=self._host.slot.number, sequence=self._live.sequence, digest=ready.digest,
            request=self._request.tobytes(), instances=self._instance.tobytes(), memory=memory,
            rotation=0, fuel=HOOK_FUEL, choice=None, fault=fault, call_s=took_s,
        ))  # fmt: skip

    def _out(self, ready: Ready, hook: str, fault: str, kind: EjectionKind, reason: str) -> None:
        self._metrics.faulted(hook, fault)
        self._host.slot.eject(ready, kind, reason)
        if self._keyed_by is not ready:
            return
        self._keys, self._rekey_s = {}, -math.inf

    def _decided(
        self, hook: str, author: Author, ready: Ready, requests: int, started_s: float
    ) -> None:
        self._host.slot.number += 1
        self._metrics.decided(hook, author, requests, time.perf_counter() - started_s)
        self._decisions.add(self._live.sequence, ready.digest, author, hook, requests, "")

    def _default(self, hook: str, requests: int) -> None:
        """The engine's own rule decides what a policy decided before."""
        self._metrics.decided(hook, Author.BUILT_IN, requests, 0.0)
        reason = "off" if self._off else "no policy"
        sequence = self._live.sequence
        self._decisions.add(sequence, BUILT_IN_DIGEST, Author.BUILT_IN, hook, requests, reason)


def draws_canary(name: str, digest: str, weight: float) -> bool:
    """Whether an engine of this name runs a canary that gets `weight` of the engines."""
    drawn = hashlib.blake2b(f"{digest} {name}".encode(), digest_size=8).digest()
    return int.from_bytes(drawn, "big") < weight * 2.0**64
