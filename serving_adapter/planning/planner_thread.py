"""A planner in a thread with a loop of its own: follows the snapshot, plans at every point.

For processes whose own loop serves others, as Ray Serve's controller. What it wants is one
attribute, read without a lock; whoever knows what goes on leaves a reading behind another.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.cluster import ClusterSpec
from sandbox.engine import EngineName
from sandbox.signal_profiles import signal_profile
from serving_adapter.admission import Admission
from serving_adapter.background import in_background
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceTable
from serving_adapter.planning.planner import Planner, Reading
from serving_adapter.planning.prepare import prepare_planned
from serving_adapter.planning.switchback import Switchback, SwitchbackSpec
from serving_adapter.planning.wanted import PlanDecision, WantedPlan
from serving_adapter.safety.ejection import EjectionKind
from serving_adapter.safety.limits import LiveLimits

LATE_FACTOR = 5.0  # times the planner's time, until it is ejected as slow
FIRST_SNAPSHOT_S = 10.0

_log = logging.getLogger("evolver.planner")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerSettings:
    """What one planner follows and plans.

    Attributes:
        cluster: hardware, shapes, monitoring interval and the planner's time.
        snapshot, trust, deployment, state: as a host's.
        period_s: between monitoring points; the cluster file's when None.
        switchback: how a policy on trial and the active one take turns.
        limits: what a policy on trial is held to.
    """

    cluster: ClusterSpec
    snapshot: Path
    trust: Path
    deployment: str = "default"
    state: Path | None = None
    engine: EngineName = "auto"
    period_s: float | None = None
    switchback: SwitchbackSpec = field(default_factory=SwitchbackSpec)
    limits: LiveLimits = field(default_factory=LiveLimits)


@dataclass(slots=True, eq=False)
class PlannerThread:
    """Plans until `stop`; `start` may be called by anybody, once or often.

    Attributes:
        reading: the newest observation; None until there is one, and nothing is planned before.
        on_decision: told of every monitoring point, in this thread.
    """

    settings: PlannerSettings
    reading: Callable[[], Reading | None]
    on_decision: Callable[[PlanDecision], None] = lambda _: None
    host: PolicyHost | None = None
    planner: Planner | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    @property
    def wanted(self) -> WantedPlan | None:
        """The newest plan."""
        return self.planner.wanted if self.planner is not None else None

    def start(self) -> None:
        """Begin, unless it has begun."""
        with self._lock:
            if self._thread is None:
                run = threading.Thread(target=self._run, name="evolver-planner", daemon=True)
                self._thread = run
                run.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End after the step that is under way."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            asyncio.run(self._plan())
        except Exception as error:
            # Without a planner the last plan stands; whoever reads the log finds out why.
            _log.exception("the planner ended: %s", type(error).__name__)

    async def _plan(self) -> None:
        settings = self.settings
        admission = Admission(settings.trust, deployment=settings.deployment, state=settings.state)
        prepare = prepare_planned(settings.cluster, settings.engine)
        host = PolicyHost(
            InstanceTable(),
            prepare=prepare,
            admission=admission,
            state=settings.state,
            limits=settings.limits,
            signals=signal_profile("ray-serve"),
        )
        self.host = host
        trial = Switchback(settings.switchback, settings.limits)
        self.planner = Planner(host.slot, settings.cluster, engine=settings.engine, trial=trial)
        host.compared_by(lambda: trial.comparison)
        async with host.running(), in_background(host.follow(settings.snapshot)):
            await self._first_snapshot(host)
            await self._points(host, self.planner)

    async def _first_snapshot(self, host: PolicyHost) -> None:
        """A policy that is about to come in plans first, not the default."""
        until_s = time.monotonic() + FIRST_SNAPSHOT_S
        while self.settings.snapshot.exists() and host.live.sequence == 0:
            if self._stopping.is_set() or time.monotonic() > until_s:
                return
            await asyncio.sleep(0.02)

    async def _points(self, host: PolicyHost, planner: Planner) -> None:
        cluster = self.settings.cluster
        period_s = self.settings.period_s or cluster.tick.monitoring_s
        late_s = LATE_FACTOR * cluster.price.planner_s
        while not self._stopping.is_set():
            began_s = time.monotonic()
            reading = self.reading()
            if reading is not None and not host.behind:  # a newer policy plans elsewhere by now
                await self._step(host, planner, reading, late_s)
            while not self._stopping.is_set() and time.monotonic() < began_s + period_s:
                await asyncio.sleep(min(0.05, period_s))

    async def _step(
        self, host: PolicyHost, planner: Planner, reading: Reading, late_s: float
    ) -> None:
        """One point; a call that takes too long takes its policy out, and ends by its fuel."""
        step = asyncio.create_task(asyncio.to_thread(planner.step, reading))
        while not step.done():
            await asyncio.wait([step], timeout=0.1)
            asking = planner.asking
            if asking is not None and time.perf_counter() > asking[1] + late_s:
                host.slot.eject(asking[0], EjectionKind.SLOW, f"planner: over {late_s:g} s")
        step.result()
        host.metrics.planned(planner.recent[-1])
        self.on_decision(planner.recent[-1])
