"""Asks the policies that are live about one engine: whom, with what in view, and what then counts.

A step looks once at what is live, so it is decided by one version. Whoever faults is ejected before
the question is answered, and the same question goes to the next.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from sandbox import contract
from sandbox.errors import PolicyFault
from serving_adapter.activation import Ready, missing_rows
from serving_adapter.asking import FAULT_KINDS
from serving_adapter.decision import BUILT_IN_DIGEST, Arm, Author, DecisionInput
from serving_adapter.engine_hooks.beside import Beside
from serving_adapter.engine_hooks.decision_file import DecisionFile
from serving_adapter.engine_hooks.engine_view import EngineView
from serving_adapter.engine_hooks.hook_caller import HOOK_FUEL, HookCaller
from serving_adapter.engine_hooks.hook_metrics import HookMetrics
from serving_adapter.host import PolicyHost
from serving_adapter.instance_rows import columns_of
from serving_adapter.live import Live
from serving_adapter.safety.control_arm import shares_of
from serving_adapter.safety.ejection import EjectionKind

NOT_FINITE = "not-finite"
KNOBS = ("knob_token_budget", "knob_speculation", "knob_offline_share", "knob_finetune_share")
UNTUNED = (-1, -1, math.nan, math.nan)

R = TypeVar("R")


class Place(NamedTuple):
    """A policy that may be asked here, and as what."""

    author: Author
    ready: Ready
    caller: HookCaller


class Asker(Generic[R]):
    """Belongs to the engine's scheduler thread; `host` follows snapshots in another.

    Attributes:
        now_s: of the present step, on the host's clock.
        knobs: what `tune` asked for last, in the order of `KNOBS`.
        instance_of: columns of the row that policies see of the engine.
    """

    def __init__(
        self,
        host: PolicyHost,
        view: EngineView[R],
        name: str,
        decisions: DecisionFile,
        metrics: HookMetrics,
    ) -> None:
        self.now_s = 0.0
        self.knobs: tuple[float, ...] = UNTUNED
        self._host, self._view, self._name = host, view, name
        self._decisions, self._metrics = decisions, metrics
        self._beside = Beside(host, metrics)
        self._request = missing_rows(contract.Request, 1)
        self._instance = missing_rows(contract.Instance, 1)
        self._request_of = columns_of(self._request)
        self.instance_of = columns_of(self._instance)
        # Bytes, because numpy copies a structured row field by field.
        self._request_bytes = self._request.view(np.uint8).data
        self._instance_bytes = self._instance.view(np.uint8).data
        self._blank = bytes(self._request_bytes), bytes(self._instance_bytes)
        self._live, self._off, self._shown = Live(), False, False
        self._places: list[Place] = []

    def begin_step(self) -> None:
        """Look at what is live."""
        slot = self._host.slot
        self.now_s = self._host.now_s()
        self._off = slot.off is not None
        self._shown = False
        if slot.live is not self._live:
            self._live = slot.live
            self._places = self._places_of(self._live)

    def chain(self, hook: str) -> Iterator[Place]:
        """Whom to ask, one after the other, until one of them leaves this to the engine."""
        for place in () if self._off else self._places:
            if self._host.slot.is_latched(place.ready.digest):
                continue
            if not place.caller.has(hook):
                return
            yield place

    def call(self, place: Place, hook: str, request: R | None, keyed: int = 0) -> float | None:
        """One answer, or None after a fault, for which the policy is out.

        Args:
            place: whom to ask.
            hook: what.
            request: about which request; None for `tune`.
            keyed: how often `priority` was asked about it before.
        """
        ready, decider = place.ready, self._host.decider
        self._show(request, keyed)
        memory, beside = ready.memory.tobytes(), self._beside
        shown = (bytes(self._request_bytes), bytes(self._instance_bytes)) if beside.wanted else None
        before_s, started_s = time.thread_time(), time.perf_counter()
        decider.asking = ready, started_s
        fault, value = "", math.nan
        try:
            value = place.caller.call(hook)
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
        decider.judge(ready, busy_s, ended_s)
        if not fault:
            if shown is not None:
                tuned = hook == "tune"
                beside.show(*shown, self.instance_of[KNOBS[0]][0].item() if tuned else value)
            return value
        beside.forget()
        self._keep(ready, memory, fault, ended_s - started_s)
        self.out(place, hook, fault, EjectionKind.ERROR, f"{hook}: {fault}")
        return None

    def seat(self) -> None:
        """Count the request that was asked about last as running, for the questions after it."""
        of, tokens = self.instance_of, max(int(self._request_of["prompt_tokens"][0]), 0)
        changes = (("queued_requests", -1), ("queued_prompt_tokens", -tokens),
                   ("running_requests", 1), ("prefill_backlog_tokens", tokens),
                   ("kv_used_tokens", tokens))  # fmt: skip
        for name, change in changes:
            if of[name][0] >= 0:
                of[name][0] = max(0, of[name][0] + change)

    def out(self, place: Place, hook: str, fault: str, kind: EjectionKind, reason: str) -> None:
        """Take a policy out, for this step and all after it."""
        self._metrics.faulted(hook, fault)
        self._host.slot.eject(place.ready, kind, reason)

    def decided(self, hook: str, place: Place, requests: int, started_s: float) -> None:
        """A policy has decided something about so many requests."""
        self._beside.decided(hook)
        self._host.slot.number += 1
        self._metrics.decided(hook, place.author, requests, time.perf_counter() - started_s)
        sequence, digest = self._live.sequence, place.ready.digest
        self._decisions.add(sequence, digest, place.author, hook, requests, "")

    def left(self, hook: str, requests: int) -> None:
        """The engine's own rule decides what a policy decided, or failed to decide."""
        self._metrics.decided(hook, Author.BUILT_IN, requests, 0.0)
        reason, sequence = "off" if self._off else "no policy", self._live.sequence
        self._decisions.add(sequence, BUILT_IN_DIGEST, Author.BUILT_IN, hook, requests, reason)

    def _places_of(self, live: Live) -> list[Place]:
        """A canary decides in those engines whose names draw it, and there alone."""
        wanted, canary = list(live.chain), live.canary
        arm = Arm.NONE if canary is None else arm_of(self._name, canary.digest, live.weight)
        if canary is not None and arm is Arm.POLICY:
            wanted.insert(0, (Author.CANARY, canary))
        self._metrics.drew(arm)
        self._beside.went_live(live, drawn=arm is Arm.POLICY)
        known = {place.ready: place.caller for place in self._places}
        places = []
        for author, ready in wanted:
            if ready.loaded is not None:
                rows = self._request, self._instance, ready.memory
                caller = known.get(ready) or HookCaller(ready.loaded, *rows)
                places.append(Place(author, ready, caller))
        return places

    def _show(self, request: R | None, keyed: int) -> None:
        if not self._shown:
            self._shown = True
            self._instance_bytes[:] = self._blank[1]
            self._view.show_instance(self.instance_of)
        for name, value in zip(KNOBS, self.knobs, strict=True):
            self.instance_of[name][0] = value
        self._request_bytes[:] = self._blank[0]
        self._request_of["now_s"][0] = self.now_s
        self._request_of["keyed_count"][0] = keyed
        if request is not None:
            self._view.show_request(self._request_of, request)

    def _keep(self, ready: Ready, memory: bytes, fault: str, took_s: float) -> None:
        """What made a policy fault goes into the dump of its ejection."""
        self._host.decider.recent.add(DecisionInput(
            number=self._host.slot.number, sequence=self._live.sequence, digest=ready.digest,
            request=self._request.tobytes(), rows=self._instance.tobytes(), memory=memory,
            rotation=0, fuel=HOOK_FUEL, choice=None, fault=fault, call_s=took_s,
        ))  # fmt: skip


def arm_of(name: str, digest: str, weight: float) -> Arm:
    """The arm of an engine of this name beside a canary that gets `weight` of the engines."""
    drawn = hashlib.blake2b(f"{digest} {name}".encode(), digest_size=8).digest()
    # Shares keep the policy's arm at the upper end, the control's at the lower.
    return shares_of(weight, 0.0).arm(2**64 - 1 - int.from_bytes(drawn, "big"))
