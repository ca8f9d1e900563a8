"""Asks the live policy whether it is worth planning now, and then what; never on a request's way.

`Planner.step` is one monitoring point. What the policy is shown are the contract's records, built
from a `Reading`; its fuel and its memory of the planner scope are the simulator's. A policy that
faults, or wants what cannot be, is ejected and the last good one is asked; when nobody is left the
present plan stands, and the default plans only where that cannot. While a policy is on trial it and
the active one take turns, period by period (`switchback`). One step at a time, any thread.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sandbox import frame
from sandbox.cluster import ClusterSpec
from sandbox.engine import EngineName, load_policy
from sandbox.errors import PolicyFault
from serving_adapter.activation import Memory, Ready, new_memory
from serving_adapter.actuators.replicas import ReplicaSpec
from serving_adapter.asking import FAULT_KINDS
from serving_adapter.decision import BUILT_IN_DIGEST, Arm, Author
from serving_adapter.errors import PlanRefused
from serving_adapter.live import Live
from serving_adapter.live_slot import LiveSlot
from serving_adapter.planning.cluster_rows import ClusterRows, PoolReading, wanted_gpus
from serving_adapter.planning.plan_rows import fill_plan, is_feasible, new_plan, read_plan
from serving_adapter.planning.prepare import PLANNER_HOOKS, planner_fuel
from serving_adapter.planning.switchback import Switchback, SwitchbackSpec
from serving_adapter.planning.wanted import PlanDecision, ReplicaReading, WantedPlan
from serving_adapter.planning.window import Sums, WindowRows
from serving_adapter.safety.ejection import EjectionKind
from serving_adapter.safety.limits import LiveLimits

INVALID_PLAN, TAKEN_OUT = "invalid-plan", "taken-out"
REMEMBERED = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was observed up to one monitoring point.

    Attributes:
        now_s: on a clock that never goes back.
        sums: counters of requests so far, see `window`; their number of rows never changes.
        replicas: what there is.
        queued_requests: over all replicas and before them; -1 where not known.
        queued_by_class: the same of classes 1 and up, as many as are known.
        pools: GPUs as they are; what the cluster file says when None.
    """

    now_s: float
    sums: Sums
    replicas: tuple[ReplicaReading, ...]
    queued_requests: int = -1
    queued_by_class: tuple[int, ...] = ()
    pools: tuple[PoolReading, ...] | None = None


@dataclass(slots=True, eq=False)
class _Scope:
    """The planner scope of one policy, from the moment it enters."""

    caller: frame.Caller | None
    memory: Memory


class Planner:
    """Plans for one deployment with whatever `slot.live` holds.

    Attributes:
        wanted: the newest plan; None until somebody has planned.
        windows: what the policy is shown of the traffic.
        recent: the latest decisions, oldest first.
        asking: whose hook is running and since when, by `time.perf_counter`.
        trial: divides the time between a policy on trial and the active one.
    """

    def __init__(
        self,
        slot: LiveSlot,
        spec: ClusterSpec,
        *,
        engine: EngineName = "auto",
        trial: Switchback | None = None,
    ) -> None:
        self.cluster = ClusterRows(spec)
        self.trial = trial or Switchback(SwitchbackSpec(), LiveLimits())
        self.wanted: WantedPlan | None = None
        self.recent: deque[PlanDecision] = deque(maxlen=REMEMBERED)
        self.asking: tuple[Ready, float] | None = None
        self._slot, self._engine, self._fuel = slot, engine, planner_fuel(spec)
        self.windows = WindowRows()
        self._plan = new_plan()
        self._scopes: dict[Ready, _Scope] = {}
        self._latest: tuple[Author, Ready] | None = None
        self._default: _Scope | None = None
        self._lock = threading.Lock()
        self._number = self._plans = 0
        self._started_s = math.nan
        self._planned_s = self._capacity_s = math.nan
        self._rate_at_plan = math.nan
        self._spent_s = 0.0
        self._pools: tuple[PoolReading, ...] = ()

    def step(self, reading: Reading) -> WantedPlan | None:
        """One monitoring point; a new plan, or None when the present one goes on.

        Never raises for a policy's fault. A call that overlaps another is left out.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return self._step(reading, self._slot.live)
        finally:
            self.asking = None
            self._lock.release()

    def _step(self, reading: Reading, live: Live) -> WantedPlan | None:
        started_s = time.perf_counter()
        self._number += 1
        pools = reading.pools if reading.pools is not None else self.cluster.usual()
        present = self._present_plan(reading)
        self._show(reading, pools, present)
        feasible = bool(self.windows.window[0]["plan_feasible"])
        arm = self._turn(live, reading)
        reasons: list[str] = []
        for author, ready in self._asked(live, arm):
            self.asking = ready, time.perf_counter()
            self._cluster_again(reading, pools)
            stands = feasible and not self._takes_over(author, ready)
            try:
                found = self._ask(self._scope_of(ready), pools, present, stands)
            except PolicyFault as fault:
                self._failed(ready, FAULT_KINDS.get(fault.kind, "other"), reasons)
                continue
            except PlanRefused as refusal:
                self._failed(ready, f"{INVALID_PLAN}: {refusal}", reasons)
                continue
            if self._slot.is_latched(ready.digest):  # it was taken out while it thought
                reasons.append(TAKEN_OUT)
                continue
            self._latest = author, ready
            return self._decided(reading, live, (author, ready.digest), arm, found, reasons,
                                 started_s)  # fmt: skip
        self._latest = None
        found = None if feasible else self._stand_in(reading, pools, present)
        nobody = Author.BUILT_IN, BUILT_IN_DIGEST
        return self._decided(reading, live, nobody, arm, found, reasons, started_s)

    def _turn(self, live: Live, reading: Reading) -> Arm:
        """Whose turn it is; a policy that is proven worse than the active one goes here."""
        arm = self.trial.arm(live, reading.now_s, reading.sums)
        comparison = self.trial.comparison
        if live.canary is not None and comparison is not None and comparison.verdict:
            self._slot.eject(live.canary, EjectionKind.REGRESS, f"planner: {comparison.verdict}")
            return Arm.NONE
        return arm

    def _asked(self, live: Live, arm: Arm) -> Iterator[tuple[Author, Ready]]:
        """Who is asked, one after the other; nobody while a kill switch is thrown."""
        if self._slot.off is not None:
            self.trial.spoil()
            return
        if arm is Arm.POLICY and live.canary is not None:
            yield Author.CANARY, live.canary
            self.trial.spoil()  # it gave no plan
        yield from live.chain

    def _takes_over(self, author: Author, ready: Ready) -> bool:
        """Whether the plan in force is that of the other planner of a trial.

        Who takes over plans at once, with empty memory, or periods would be about the plan that
        the other left behind.
        """
        if self._latest is None or self._latest[1] is ready:
            return False
        if Author.CANARY not in (author, self._latest[0]):
            return False
        self._scope_of(ready).memory[:] = 0.0
        return True

    def _ask(
        self,
        scope: _Scope,
        pools: Sequence[PoolReading],
        present: tuple[ReplicaSpec, ...],
        feasible: bool,
    ) -> _Found | None:
        """One policy's plan, None when it keeps the present one.

        Raises:
            PolicyFault: a hook stopped in the middle.
            PlanRefused: what it wants cannot be.
        """
        rows, memory = (self.windows.window, self.cluster.row, self._plan), scope.memory
        trigger, planner = (self._caller_of(scope, hook) for hook in PLANNER_HOOKS)
        if not trigger.should_reschedule(*rows, memory, self._fuel) and feasible:
            return None
        written = new_plan()
        planner.schedule(*rows, written, memory, self._fuel)
        gpus = wanted_gpus(self.cluster.row, self.cluster.spec)
        if written[0]["n_replicas"] == 0 and any(count > 0 for count in gpus):
            return _Found(present, gpus)
        return _Found(read_plan(written, self.cluster, pools), gpus)

    def _caller_of(self, scope: _Scope, hook: str) -> frame.Caller:
        """The policy's own hook, or the default's where it has none."""
        own = scope.caller
        if own is not None and hook in own.loaded.hooks:
            return own
        default = self._default_scope().caller
        if default is None:
            raise RuntimeError("The default policy has no planner: this is a defect.")
        return default

    def _scope_of(self, ready: Ready) -> _Scope:
        scope = self._scopes.get(ready)
        if scope is None:
            present = self._slot.live.policies
            kept = {old: self._scopes[old] for old in self._scopes if old in present}
            caller = frame.Caller(ready.loaded) if ready.loaded is not None else None
            self._scopes = kept | {ready: (scope := _Scope(caller, new_memory()))}
        return scope

    def _default_scope(self) -> _Scope:
        if self._default is None:
            from sandbox.policies import default_source

            loaded = load_policy(default_source(), engine=self._engine, only=PLANNER_HOOKS)
            self._default = _Scope(frame.Caller(loaded), new_memory())
        return self._default

    def _stand_in(
        self, reading: Reading, pools: Sequence[PoolReading], present: tuple[ReplicaSpec, ...]
    ) -> _Found | None:
        """The default's plan, where nobody has a valid one and the present one cannot stand."""
        self._cluster_again(reading, pools)
        try:
            return self._ask(self._default_scope(), pools, present, feasible=False)
        except (PolicyFault, PlanRefused):
            return None

    def _failed(self, ready: Ready, why: str, reasons: list[str]) -> None:
        """Take a policy out: what it wanted is not carried out, and it is not asked again."""
        reasons.append(why)
        self._slot.eject(ready, EjectionKind.ERROR, f"planner: {why}")

    def _present_plan(self, reading: Reading) -> tuple[ReplicaSpec, ...]:
        """The plan in force: the newest, or what there is where nobody has planned."""
        if self.wanted is not None:
            return self.wanted.replicas
        return tuple(replica.spec for replica in reading.replicas)

    def _show(
        self, reading: Reading, pools: Sequence[PoolReading], present: tuple[ReplicaSpec, ...]
    ) -> None:
        """Fill window and plan; the cluster is filled for each policy anew."""
        now_s = reading.now_s
        if math.isnan(self._started_s):
            self._started_s = self._planned_s = self._capacity_s = now_s
            self._pools = tuple(pools)
        row = self.windows.window[0]
        changed = tuple(pools) != self._pools
        if changed:
            self._capacity_s, self._pools = now_s, tuple(pools)
        queued = (reading.queued_requests, *reading.queued_by_class)
        kv_used = [one.kv_used for one in reading.replicas]
        self.windows.close(reading.sums, now_s - self._started_s, queued, kv_used)
        row["since_plan_s"] = now_s - self._planned_s
        row["since_capacity_change_s"] = now_s - self._capacity_s
        row["capacity_changed"] = changed
        row["plan_feasible"] = is_feasible(present, self.cluster, pools)
        row["scheduling_s"], row["reconfiguration_s"] = self._spent_s, math.nan
        row["serving_s"], row["busy"] = row["now_s"], math.nan
        row["rate_at_plan_rps"], row["last_switch_s"] = self._rate_at_plan, math.nan
        fill_plan(self._plan, present, reading.replicas)
        self._plan[0]["age_s"], self._plan[0]["reconfigurations"] = (
            now_s - self._planned_s, self._plans,
        )  # fmt: skip

    def _cluster_again(self, reading: Reading, pools: Sequence[PoolReading]) -> None:
        """The cluster as it is: a policy before this one may have written what it wants."""
        smooth = self.windows.smooth
        running = [replica.spec for replica in reading.replicas]
        self.cluster.fill(pools, running, smooth[0], smooth)

    def _decided(
        self,
        reading: Reading,
        live: Live,
        by: tuple[Author, str],
        arm: Arm,
        found: _Found | None,
        reasons: Sequence[str],
        started_s: float,
    ) -> WantedPlan | None:
        author, digest = by
        duration_s = time.perf_counter() - started_s
        self._spent_s += duration_s
        result = "planned" if found else "failed" if reasons else "kept"
        reason = ",".join(reasons)
        self.recent.append(
            PlanDecision(
                number=self._number, sequence=live.sequence, digest=digest, author=author,
                result=result, reason=reason, duration_s=duration_s,
                replicas=len(found.replicas if found else self._present_plan(reading)), arm=arm,
            )
        )  # fmt: skip
        if found is None:
            return None
        self._plans += 1
        self._planned_s = reading.now_s
        self._rate_at_plan = float(self.windows.window[0]["classes"][0]["rate_rps"])
        self.wanted = WantedPlan(
            number=self._plans,
            sequence=live.sequence,
            digest=digest,
            author=author,
            replicas=found.replicas,
            pools_wanted=found.gpus,
            duration_s=duration_s,
        )
        return self.wanted


@dataclass(frozen=True, slots=True)
class _Found:
    """What a planner wrote, checked."""

    replicas: tuple[ReplicaSpec, ...]
    gpus: tuple[int, ...]
