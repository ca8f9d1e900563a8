"""Replays a trace under several policies and says what each was worth."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sandbox.classes import patient
from sandbox.cluster import ClusterSpec
from sandbox.engine import LoadedPolicy, load_policy
from sandbox.frame import FAULTS
from sandbox.hardware import build_hardware
from sandbox.kernel.calls import HOOKS, INVALID_DECISION
from sandbox.kernel.state import FINISHED, PS_PER_S
from sandbox.metrics import Metrics, measure
from sandbox.policies import default_source
from sandbox.signal_profiles import FULL
from sandbox.simulation import Setup, SimulationError, simulate
from telemetry.trace import Trace

DEFAULTED = ("should_reschedule", "schedule", "route", "route_decode")
SATURATION = 1000.0  # arrivals are pressed together this much to find out what a fleet can do
_UNTIL_SHARE = 0.9  # the tail of a saturated run does not fill the batches


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """One policy on one trace.

    Attributes:
        fault: the first faulty decision in words, None when there was none.
        wall_s: how long simulating took, building included.
    """

    policy: str
    digest: str
    metrics: Metrics
    faults: int
    fault: str | None
    wall_s: float

    @property
    def requests(self) -> int:
        """Requests that entered."""
        return int(self.metrics.numbers["requests"])

    def to_json(self) -> dict[str, object]:
        """The entry of `results` that replay prints."""
        numbers = self.metrics.numbers
        return {
            "policy": self.policy,
            "digest": self.digest,
            "requests": self.requests,
            "finished": int(numbers["finished"]),
            "rejected": int(numbers["rejected"]),
            "unfinished": int(numbers["unfinished"]),
            "metrics": self.metrics.to_json(),
            "fuel_per_decision": numbers["fuel_per_decision"],
            "faults": self.faults,
            "fault": self.fault,
            "wall_s": self.wall_s,
        }


@dataclass(frozen=True, slots=True)
class LoadReport:
    """How a trace was laid on a cluster.

    Attributes:
        load: offered share of what the default policy and plan can serve; None as recorded.
        capacity_rps: what they serve when all requests come at once.
        offered_rps: arrivals per second after scaling.
        factor: by which the arrival rate was multiplied.
    """

    load: float | None
    capacity_rps: float
    offered_rps: float
    factor: float

    @property
    def sentence(self) -> str:
        """One sentence for people."""
        return (
            f"arrivals scaled x{self.factor:.3g} to {self.offered_rps:.3g} requests/s, load "
            f"{self.load:g} of the {self.capacity_rps:.3g} requests/s that the default policy and "
            "plan serve"
        )


@functools.cache
def default_policy() -> LoadedPolicy:
    """The built-in default, compiled: the hooks that a policy may lack or fail in."""
    return load_policy(default_source(), engine="compiled", only=DEFAULTED)


def replay(
    setup: Setup,
    policies: Sequence[tuple[str, LoadedPolicy]],
    progress: Callable[[str], None] | None = None,
) -> list[ReplayResult]:
    """Each policy on the same trace, cluster, capacity and seed, in order."""
    results = []
    for name, policy in policies:
        started = time.perf_counter()
        outcome = simulate(setup, policy, default_policy())
        metrics = measure(outcome, setup, build_hardware(setup.cluster))
        wall_s = time.perf_counter() - started
        faults = int(outcome.totals["faults"])
        fault = fault_sentence(outcome.totals) if faults else None
        results.append(ReplayResult(name, policy.digest, metrics, faults, fault, wall_s))
        if progress is not None:
            progress(name)
    return results


def fault_sentence(totals: np.void) -> str:
    """The first faulty decision of a run in words."""
    hook, kind = HOOKS[int(totals["fault_hook"])], int(totals["first_fault"])
    if kind == INVALID_DECISION:
        return f"{hook} answered something that cannot be done"
    return f"{hook}: {FAULTS.get(kind, FAULTS[max(FAULTS)])}"


def capacity_rps(trace: Trace, cluster: ClusterSpec, seed: int = 0) -> float:
    """Requests per second that the default policy and plan serve with everything at the door.

    Raises:
        SimulationError: nothing finishes at all.
    """
    pressed = trace.scale_rate(SATURATION)
    # nothing may time out of a saturated run, and every request is in reach of the routers at once
    stop_s = min(40.0 * trace.span_s + 3600.0, 3.9e6)
    # a load means the same whatever a door knows
    setup = Setup(pressed, patient(cluster.seen_by(FULL.name), 1e6), seed=seed, stop_s=stop_s)
    outcome = simulate(setup, default_policy(), default_policy())
    done = np.sort(outcome.finish[outcome.state == FINISHED])
    if len(done) == 0:
        raise SimulationError(
            f"{cluster.name} finishes no request of {trace.meta.name}; prompts may be longer than "
            "its engines hold: choose a cluster with larger GPUs or a smaller model."
        )
    upto = max(int(len(done) * _UNTIL_SHARE) - 1, 0)
    return (upto + 1) / max(float(done[upto]) / PS_PER_S, 1e-9)


def at_load(
    trace: Trace, cluster: ClusterSpec, load: float, seed: int = 0
) -> tuple[Trace, LoadReport]:
    """The trace with arrivals scaled to a share of the cluster's measured capacity.

    Open arrivals are scaled in time, sessions in how often they start; think times stay.

    Raises:
        SimulationError: the load is not positive, or the cluster serves nothing of the trace.
    """
    if not 0.0 < load <= 100.0:
        raise SimulationError(f"A load of {load:g} means nothing; give a share such as 0.8.")
    most = capacity_rps(trace, cluster, seed)
    factor = load * most / trace.rate_rps
    scaled = trace.scale_rate(factor)
    return scaled, LoadReport(load, most, scaled.rate_rps, factor)
