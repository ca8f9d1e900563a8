"""One run of a pair in stretches: who decides from when on, and what every monitoring point showed.

All arms share the past: up to `past_s` of the trace the default policy decides in each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from evolver.online.pairs import Ground
from sandbox.engine import LoadedPolicy
from sandbox.kernel.state import PS_PER_S
from sandbox.replay import default_policy
from sandbox.simulation import Mode, Outcome, Setup
from sandbox.stretches import Stretches

Plan = tuple[tuple[int, int, int, int], ...]  # pool, TP, PP and role of each replica
_COUNTED = (
    "integrated", "gpu_ps", "loading_ps", "blocked_ps", "planning_ps", "reconfigurations", "plans",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Point:
    """What a monitoring point showed.

    Attributes:
        time_s: of the simulation.
        released_s: seconds of the trace whose requests have come by now.
        counted: the run's totals so far, by name.
        plan: the plan in force.
    """

    time_s: float
    released_s: float
    counted: dict[str, float]
    plan: Plan


@dataclass(frozen=True, slots=True)
class Entry:
    """A policy entered: when, under which digest, and what it is called."""

    time_s: float
    digest: str
    name: str


@dataclass(slots=True)
class Course:
    """A pair on its way; `points` and `entries` tell what was so far.

    The run rests at a monitoring point that nobody has been asked at yet.
    """

    ground: Ground
    mode: Mode
    seed: int
    points: list[Point] = field(default_factory=list, init=False)
    entries: list[Entry] = field(default_factory=list, init=False)
    run: Stretches = field(init=False)

    def __post_init__(self) -> None:
        ground = self.ground
        setup = Setup(ground.trace, ground.cluster, ground.capacity, self.mode, self.seed)
        self.run = Stretches(setup, default_policy(), default_policy())
        self.run.run_to(self.run.now_s)
        self._look()

    @property
    def now_s(self) -> float:
        """Seconds of the simulation."""
        return self.points[-1].time_s

    @property
    def over(self) -> bool:
        """Has all work ended?"""
        return self.run.over

    def advance(self) -> bool:
        """To the next monitoring point; False when the run ended before it."""
        tick_s = self.ground.spec.monitoring_s
        if not self.run.run_to(self.now_s + 0.5 * tick_s):
            return False
        self._look()
        return True

    def to_trace_time(self, trace_s: float) -> bool:
        """To the first monitoring point at which that much of the trace has come."""
        while self.points[-1].released_s < trace_s:
            if not self.advance():
                return False
        return True

    def enter(self, policy: LoadedPolicy, name: str) -> None:
        """Who decides from this monitoring point on."""
        self.run.enter(policy)
        self.entries.append(Entry(self.now_s, policy.digest, name))

    def finish(self) -> Outcome:
        """Run to the end, looking at every monitoring point."""
        while self.advance():
            pass
        return self.run.outcome()

    def end(self) -> Point:
        """The totals when all was over."""
        return self._point(float(self.run.sim.totals[0]["integrated"]) / PS_PER_S)

    def _look(self) -> None:
        self.points.append(self._point(self.run.now_s))

    def _point(self, time_s: float) -> Point:
        sim = self.run.sim
        totals = sim.totals[0]
        released_s = time_s
        if self.mode == "backlog":
            released_s = (int(totals["period"]) + 1) * self.ground.spec.monitoring_s
        plan = sim.plan[0]
        rows = plan["replicas"][: int(plan["n_replicas"])]
        fields = zip(*(rows[name].tolist() for name in ("pool", "tp", "pp", "role")), strict=True)
        counted = {name: float(np.sum(totals[name])) for name in _COUNTED}
        return Point(time_s, released_s, counted, tuple(fields))
