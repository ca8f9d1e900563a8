"""What an engine's scheduler asks the live policy: order, admission, token budget.

Where no policy is left, and where one leaves a hook out, the engine's own rule stands: first come,
first served, everybody is admitted, its own budget. Order is one decision about all requests of an
engine, so another policy keys all of them anew; otherwise keys are asked for when a request comes
and on the re-key tick, as in the simulator.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from serving_adapter.activation import Ready
from serving_adapter.engine_hooks.asker import KNOBS, UNTUNED, Asker, Place
from serving_adapter.engine_hooks.decision_file import DecisionFile
from serving_adapter.engine_hooks.engine_view import EngineView
from serving_adapter.engine_hooks.hook_metrics import HookMetrics
from serving_adapter.host import PolicyHost
from serving_adapter.safety.ejection import EjectionKind

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
        self._asker = Asker(host, view, name, decisions, metrics)
        self._view, self._limits, self._metrics = view, host.limits, metrics
        self._ticks = ticks or Ticks()
        self._keys: dict[str, tuple[float, int]] = {}
        self._keyed_by: Ready | None = None
        self._tuned_by: Ready | None = None
        self._rekey_s = self._control_s = -math.inf
        self._refused: tuple[str, int] | None = None
        self._refused_s = math.nan

    def begin_step(self) -> None:
        """Look at what is live; before anything else in a step."""
        self._asker.begin_step()

    def order(self, waiting: Sequence[R], running: Sequence[R]) -> tuple[list[R], list[R]] | None:
        """Both by key, lowest first, so that the last is the first victim; None: leave them.

        Equal keys stay in the order in which they are. What a policy had ordered that is not asked
        any more is put back in order of arrival.
        """
        faulted = False
        for place in self._asker.chain("priority"):
            keys = self._keyed(place, [*waiting, *running])
            if keys is not None:
                self._keys, self._keyed_by = keys, place.ready
                return self._sorted(waiting), self._sorted(running)
            faulted = True
        if self._keyed_by is None and not faulted:
            return None
        self._keys, self._keyed_by = {}, None
        self._asker.left("priority", len(waiting) + len(running))
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
        for place in self._asker.chain("admit"):
            count = self._ask_admit(place, waiting, seats, running, blocked)
            if count is not None:
                return count
        if self._refused is not None:
            self._asker.left("admit", len(waiting))
        self._refused, self._refused_s = None, math.nan
        return len(waiting)

    def token_budget(self) -> int | None:
        """What `tune` asked for last; None: the engine's own."""
        asker = self._asker
        for place in asker.chain("tune"):
            if place.ready is not self._tuned_by:
                asker.knobs = UNTUNED
            elif asker.now_s - self._control_s < self._ticks.control_s:
                break
            self._tuned_by, self._control_s = place.ready, asker.now_s
            started_s = time.perf_counter()
            if asker.call(place, "tune", None) is not None:
                asker.knobs = tuple(asker.instance_of[name][0].item() for name in KNOBS)
                asker.decided("tune", place, 1, started_s)
                break
        else:
            if self._tuned_by is not None:
                asker.left("tune", 1)
            self._tuned_by, asker.knobs = None, UNTUNED
        return int(asker.knobs[0]) if asker.knobs[0] >= 0 else None

    def _keyed(self, place: Place, everybody: Sequence[R]) -> dict[str, tuple[float, int]] | None:
        """Key and count for each request, asked for where there is none; None after a fault."""
        asker, name_of, known = self._asker, self._view.name_of, self._keys
        due = asker.now_s - self._rekey_s >= self._ticks.rekey_s
        if place.ready is not self._keyed_by:
            known, due = {}, True
        asked = everybody if due else [one for one in everybody if name_of(one) not in known]
        if not asked:
            return known
        started_s = time.perf_counter()
        keys = {} if due else known
        for request in asked:
            name = name_of(request)
            count = known[name][1] if name in known else 0
            key = asker.call(place, "priority", request, count)
            if key is None:
                return None
            keys[name] = key, count + 1
        if due:
            self._rekey_s, self._refused = asker.now_s, None
        asker.decided("priority", place, len(asked), started_s)
        return keys

    def _sorted(self, requests: Sequence[R]) -> list[R]:
        keys, name_of = self._keys, self._view.name_of
        return sorted(requests, key=lambda request: keys[name_of(request)][0])

    def _ask_admit(
        self,
        place: Place,
        waiting: Sequence[R],
        seats: int,
        running: int,
        blocked: Collection[R],
    ) -> int | None:
        """Ask about one after the other until one has to wait; None after a fault.

        The last word on the head of the queue stands until the head or the batch changed.
        """
        asked, started_s, count = 0, time.perf_counter(), 0
        while count < len(waiting) and seats > 0:
            request = waiting[count]
            state = self._view.name_of(request), running + count
            if state != self._refused:
                allowed = self._asker.call(place, "admit", request)
                if allowed is None:
                    return None
                asked += 1
                self._refused = None if allowed else state
            if self._refused is not None:
                break
            seats -= request not in blocked
            count += 1
            self._asker.seat()
        if asked:
            self._asker.decided("admit", place, asked, started_s)
        return None if self._stalled(place, count, len(waiting), running) else count

    def _stalled(self, place: Place, admitted: int, waiting: int, running: int) -> bool:
        """Whether the policy lets the engine stand still, or its queue wait for ever."""
        if admitted or not waiting or self._refused is None:
            self._refused_s = math.nan
            return False
        if math.isnan(self._refused_s):
            self._refused_s = self._asker.now_s
        limits, for_s = self._limits, self._asker.now_s - self._refused_s
        self._metrics.refused(for_s)
        if for_s <= (limits.stall_cap_s if running else limits.stall_idle_s):
            return False
        reason = f"it admitted nobody for {for_s:.3g} s with {running} requests running"
        self._asker.out(place, "admit", "stall", EjectionKind.STALL, reason)
        return True
