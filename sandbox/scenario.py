"""A scenario: one window of a trace to score policies on, and what an outcome there is worth.

A window is measured after a warm-up on what came just before it, so no policy starts on an empty
fleet. Conditions that a window is tried under besides its own (another rate, another seed) are
scenarios too, named after it: `w03+rate1.25` is of the unit `w03`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sandbox.capacity import Pairing
from sandbox.cluster import ClusterSpec
from sandbox.engine import LoadedPolicy
from sandbox.fingerprint import fingerprint
from sandbox.frame import FAULTS
from sandbox.hardware import build_hardware
from sandbox.kernel.calls import HOOKS, INVALID_DECISION
from sandbox.metrics import measure, objective_s
from sandbox.remarks import remarks
from sandbox.replay import default_policy
from sandbox.scores import WORST_OBJECTIVE_S, WindowScore
from sandbox.simulation import Mode, Outcome, Setup, simulate
from telemetry.trace import Trace

VARIED = "+"  # between the name of a window and what was changed


@dataclass(frozen=True, slots=True)
class Scenario:
    """One window: `trace` starts with `warmup_s` seconds that are run and not measured.

    `start_s` and `stop_s` say where in the whole trace the measured part lies. One that is
    `interpreted` only asks what a policy decides: no machine code is made for it, if it can be.
    `learned` is what the length predictor knew when the trace began.
    """

    name: str
    trace: Trace
    cluster: ClusterSpec
    capacity: Pairing | None
    warmup_s: float
    seed: int
    mode: Mode = "open"
    start_s: float = 0.0
    stop_s: float = 0.0
    interpreted: bool = False
    learned: bytes = b""

    @property
    def unit(self) -> str:
        """The window that it counts as in statistics."""
        return unit_of(self.name)

    @property
    def setup(self) -> Setup:
        """What is simulated."""
        return Setup(
            self.trace, self.cluster, self.capacity, self.mode, self.seed, learned=self.learned
        )


def unit_of(name: str) -> str:
    """The window that a scenario of that name counts as."""
    return name.partition(VARIED)[0]


def outcome_of(scenario: Scenario, policy: LoadedPolicy) -> Outcome:
    """What happens in one window under one policy."""
    return simulate(scenario.setup, policy, default_policy())


def score(scenario: Scenario, outcome: Outcome) -> WindowScore:
    """What an outcome is worth; what cannot be measured counts as the worst case."""
    setup = scenario.setup
    hardware = build_hardware(setup.cluster)
    metrics = measure(outcome, setup, hardware, scenario.warmup_s)
    faults = int(outcome.totals["faults"])
    return WindowScore(
        scenario.name,
        _worth(metrics.objective_s),
        metrics.flat(),
        faults,
        fault_name(outcome.totals) if faults else None,
        fingerprint(outcome),
        remarks(outcome, setup.trace, hardware, scenario.warmup_s),
    )


def mark(scenario: Scenario, outcome: Outcome) -> WindowScore:
    """The objective and the faults of `score`, without metrics and remarks."""
    setup, faults = scenario.setup, int(outcome.totals["faults"])
    hardware = build_hardware(setup.cluster)
    objective = _worth(objective_s(outcome, setup, hardware, scenario.warmup_s))
    fault = fault_name(outcome.totals) if faults else None
    return WindowScore(scenario.name, objective, faults=faults, fault=fault)


def _worth(objective: float) -> float:
    """The objective, or the worst case for what cannot be measured."""
    return objective if 0.0 < objective < WORST_OBJECTIVE_S else WORST_OBJECTIVE_S


def fault_name(totals: np.void) -> str:
    """The first fault of a run and the hook that had it, as `index in schedule`."""
    kind, hook = int(totals["first_fault"]), HOOKS[int(totals["fault_hook"])]
    names = ("fuel", "zero-division", "index", "overflow", "not-a-number", "scratch", "other")
    known = names[kind - 1] if kind in FAULTS else "other"
    return f"{'invalid-decision' if kind == INVALID_DECISION else known} in {hook}"
