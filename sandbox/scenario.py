"""Scenarios: windows of a trace to score policies on, split by time into search, choice and proof.

A window is measured after a warm-up on what came just before it, so no policy starts on an empty
fleet. Search sees the training windows only, choice the validation windows, and the sealed ones
are opened once, for one candidate.
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
from sandbox.metrics import measure
from sandbox.replay import default_policy
from sandbox.scores import WORST_OBJECTIVE_S, WindowScore
from sandbox.simulation import Mode, Outcome, Setup, SimulationError, simulate
from telemetry.trace import Trace

TIMES_E2E = 10.0  # a window is at least this many mean end-to-end times long
WARMUP_TIMES_E2E = 3.0
MOST_WINDOWS = 24
FEWEST_WINDOWS = 6
TRAINING_SHARE, VALIDATION_SHARE = 0.4, 0.2


@dataclass(frozen=True, slots=True)
class Scenario:
    """One window: `trace` starts with `warmup_s` seconds that are run and not measured.

    `start_s` and `stop_s` say where in the whole trace the measured part lies.
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

    @property
    def setup(self) -> Setup:
        """What is simulated."""
        return Setup(self.trace, self.cluster, self.capacity, self.mode, self.seed)


@dataclass(frozen=True, slots=True)
class Windows:
    """All windows of a trace by split, each in order of time.

    Attributes:
        length_s: measured length of each.
        mean_e2e_s: of the default policy on the whole trace, which set the length.
        notes: sentences for people.
    """

    training: tuple[Scenario, ...]
    validation: tuple[Scenario, ...]
    sealed: tuple[Scenario, ...]
    length_s: float
    mean_e2e_s: float
    notes: tuple[str, ...]

    @property
    def all(self) -> tuple[Scenario, ...]:
        """Every window."""
        return self.training + self.validation + self.sealed


def split_windows(
    trace: Trace,
    cluster: ClusterSpec,
    capacity: Pairing | None = None,
    *,
    seed: int = 0,
    mode: Mode = "open",
) -> Windows:
    """Cut a trace, already at its load, into windows.

    40 % of them are to search on, 20 % to choose on and 40 % to prove on, in order of time.

    Raises:
        SimulationError: the trace is too short for even a few windows.
    """
    e2e_s = _mean_e2e_s(Setup(trace, cluster, capacity, mode, seed))
    warmup_s = WARMUP_TIMES_E2E * e2e_s
    count = min(int((trace.span_s - warmup_s) / (TIMES_E2E * e2e_s)), MOST_WINDOWS)
    notes: list[str] = []
    if count < FEWEST_WINDOWS:
        count = FEWEST_WINDOWS
        notes.append(
            f"windows are shorter than {TIMES_E2E:g} mean end-to-end times ({e2e_s:.3g} s): a "
            "longer trace, a lower load or a smaller cluster gives firmer evidence"
        )
    length_s = (trace.span_s - warmup_s) / count
    if length_s <= 0.0 or len(trace) < 10 * count:
        raise SimulationError(
            f"{trace.meta.name} is too short to search and to prove on; give a longer trace, or "
            "--span-s to continue it with its own generator."
        )
    first = round(TRAINING_SHARE * count)
    second = round((TRAINING_SHARE + VALIDATION_SHARE) * count)
    cut = []
    for k in range(count):
        end = next(edge for edge in (first, second, count) if k < edge)
        limit_s = trace.span_s if end == count else warmup_s + end * length_s
        whole = Setup(trace, cluster, capacity, mode, seed)
        cut.append(_window(k, whole, warmup_s, length_s, limit_s))
    parts = (tuple(cut[:first]), tuple(cut[first:second]), tuple(cut[second:]))
    return Windows(*parts, length_s, e2e_s, tuple(notes))


def _mean_e2e_s(setup: Setup) -> float:
    outcome = simulate(setup, default_policy(), default_policy())
    return measure(outcome, setup, build_hardware(setup.cluster)).objective_s


def _window(k: int, whole: Setup, warmup_s: float, length_s: float, limit_s: float) -> Scenario:
    """Window `k`; its capacity goes on while its requests finish, but not beyond its split."""
    start_s = warmup_s + k * length_s
    stop_s = start_s + length_s
    stretch = whole.trace.slice(start_s - warmup_s, stop_s)
    part = None
    if whole.capacity is not None:
        later = max(min(start_s + 4.0 * length_s, limit_s), stop_s)
        part = whole.capacity.slice(start_s - warmup_s, min(later, whole.capacity.trace.span_s))
    return Scenario(
        f"w{k:02d}",
        stretch,
        whole.cluster,
        part,
        warmup_s,
        whole.seed + k,
        whole.mode,
        start_s,
        stop_s,
    )


def outcome_of(scenario: Scenario, policy: LoadedPolicy) -> Outcome:
    """What happens in one window under one policy."""
    return simulate(scenario.setup, policy, default_policy())


def score(scenario: Scenario, outcome: Outcome) -> WindowScore:
    """What an outcome is worth; what cannot be measured counts as the worst case."""
    setup = scenario.setup
    metrics = measure(outcome, setup, build_hardware(setup.cluster), scenario.warmup_s)
    faults = int(outcome.totals["faults"])
    objective = metrics.objective_s
    if not 0.0 < objective < WORST_OBJECTIVE_S:
        objective = WORST_OBJECTIVE_S
    return WindowScore(
        scenario.name,
        objective,
        metrics.flat(),
        faults,
        fault_name(outcome.totals) if faults else None,
        fingerprint(outcome),
    )


def fault_name(totals: np.void) -> str:
    """The first fault of a run and the hook that had it, as `index in schedule`."""
    kind, hook = int(totals["first_fault"]), HOOKS[int(totals["fault_hook"])]
    names = ("fuel", "zero-division", "index", "overflow", "not-a-number", "scratch", "other")
    known = names[kind - 1] if kind in FAULTS else "other"
    return f"{'invalid-decision' if kind == INVALID_DECISION else known} in {hook}"
