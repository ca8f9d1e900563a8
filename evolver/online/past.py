"""What a controller may know at a monitoring point: work that came, ends that were seen, capacity.

Three scenarios to try candidates on are made of it. `whole` is all that was, from the first second
under the plan of then, and behind it the last stretch once more: whoever loads engines pays before
the end of what is known and gains after it, so a trial that ends there would favour doing nothing.
`ahead` begins with the plan and the GPUs of now and meets the last stretch twice. `strained` does
so at twice the rate, with GPUs lost and given back on the way: a quiet past says nothing ill of a
planner that fails in what comes after it. The length of an answer that has not ended is not known
yet: its place takes what the predictor said when the request came. Nothing else of the run is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evolver.online.course import Course, Plan
from sandbox.capacity import Pairing
from sandbox.cluster import ClusterSpec, ReplicaSpec
from sandbox.contract import DECODE, PREFILL
from sandbox.kernel.state import FINISHED, PS_PER_S
from sandbox.replay import default_policy
from sandbox.scenario import Scenario
from sandbox.simulation import SimulationError
from sandbox.stretches import Stretches
from telemetry.trace import Trace, concat

FEWEST = 8  # requests of a stretch
STRAIN = 2.0  # times the rate
LOST = 0.5  # of the nodes that are there are lost, for the middle half of the time
_ROLES = {PREFILL: "prefill", DECODE: "decode"}


@dataclass(frozen=True, slots=True)
class Past:
    """What is tried on.

    Attributes:
        time_s: of the simulation, when it was looked at.
        pieces: all that was; from now on, if things stay as they are; and if they become worse.
            Those of the last two that cannot begin are left out.
    """

    time_s: float
    pieces: tuple[Scenario, ...]


def past_of(course: Course) -> Past | None:
    """What is known of a course at the monitoring point where it rests; None without work."""
    point, known = course.points[-1], known_trace(course)
    last = _cut(known, max(point.released_s - course.ground.spec.piece_s, 0.0), point.released_s)
    if len(last) < FEWEST:
        return None
    now_s, again = course.now_s, concat([last, last])
    steady = _up_to(course.ground.capacity, now_s, now_s)
    worse = concat([again.scale_rate(STRAIN)] * round(STRAIN))
    pieces = (
        _scenario(course, "whole", concat([_cut(known, 0.0, point.released_s), last]), 0.0,
                  _up_to(course.ground.capacity, 0.0, now_s)),
        _scenario(course, "ahead", again, now_s, steady),
        _scenario(course, "strained", worse, now_s, _strained(steady, worse.span_s)),
    )  # fmt: skip
    found = tuple(piece for piece in pieces if piece is not None)
    return Past(point.time_s, found) if found else None


def stretch_known(course: Course, start_s: float, stop_s: float) -> Scenario | None:
    """A stretch of a course that has ended, for references that look back."""
    trace = course.ground.trace
    stretch = _cut(trace, start_s, stop_s)
    if len(stretch) < FEWEST:
        return None
    begun_s = start_s
    if course.mode == "backlog":
        first = int(np.searchsorted(trace.arrival_s, start_s))
        begun_s = float(course.run.sim.requests[first]["entered"]) / PS_PER_S
    capacity = _up_to(course.ground.capacity, begun_s, course.now_s)
    return _scenario(course, f"r{start_s:g}", stretch, begun_s, capacity)


def known_trace(course: Course) -> Trace:
    """All requests that have come, with what is known of their answers' lengths by now."""
    ground, rows = course.ground, course.run.sim.requests
    come = int(np.searchsorted(ground.trace.arrival_s, course.points[-1].released_s))
    trace = _leading(ground.trace, come)
    mine = rows[: len(trace)]
    ended = (mine["state"] == FINISHED) & (mine["finish"] <= round(course.now_s * PS_PER_S))
    guess = np.where(mine["predicted"] > 0.0, mine["predicted"], np.nan)
    guess = np.where(np.isfinite(guess), guess, _mean(trace.output_tokens[ended]))
    tokens = np.where(ended, trace.output_tokens, np.maximum(np.round(guess), 1.0))
    return replace(trace, output_tokens=tokens.astype(np.int32))


def _leading(trace: Trace, rows: int) -> Trace:
    """The first requests; the span ends with the last of them, for nobody knows of a later one."""
    if rows == 0:
        return trace.slice(0.0, 1e-9)
    if rows == len(trace):
        return trace
    return trace.slice(0.0, float(trace.arrival_s[rows]))


def _mean(tokens: NDArray[np.int32]) -> float:
    return float(tokens.mean()) if len(tokens) else 1.0


def _cut(trace: Trace, start_s: float, stop_s: float) -> Trace:
    return replace(trace.slice(start_s, stop_s), span_s=stop_s - start_s)


def _scenario(
    course: Course, name: str, trace: Trace, begun_s: float, capacity: Pairing
) -> Scenario | None:
    """Requests and capacity from a second on, under the plan of then."""
    cluster = course.ground.cluster
    scenario = Scenario(name, trace, cluster, capacity, 0.0, course.seed, course.mode)
    begun = replace(scenario, cluster=_under(cluster, _plan_at(course, begun_s)))
    return next((one for one in (begun, scenario) if _can_start(one)), None)


def _up_to(capacity: Pairing, start_s: float, now_s: float) -> Pairing:
    """Its course until now; how long it is known to last says nothing of what comes."""
    part = capacity.slice(start_s, max(now_s, start_s + 1.0))
    seen = part.trace.time_s <= now_s - start_s
    trace = replace(
        part.trace, time_s=part.trace.time_s[seen], node=part.trace.node[seen],
        up=part.trace.up[seen], unannounced=part.trace.unannounced[seen],
    )  # fmt: skip
    return replace(part, trace=trace)


def _strained(capacity: Pairing, span_s: float) -> Pairing:
    """The same, but some of the nodes that are there are lost for the middle half of the time."""
    course = capacity.trace
    there = course.initial_up.copy()
    there[course.node] = course.up
    lost = np.flatnonzero(there)[: max(round(LOST * int(there.sum())), 1)]
    times = (0.25 * span_s, 0.75 * span_s)
    trace = replace(
        course, span_s=max(course.span_s, span_s), unannounced=np.zeros(0, np.bool_),
        time_s=np.concatenate([course.time_s, np.repeat(times, len(lost))]),
        node=np.concatenate([course.node, lost, lost]),
        up=np.concatenate([course.up, np.repeat((False, True), len(lost))]),
    )  # fmt: skip
    return replace(capacity, trace=trace)


def _plan_at(course: Course, time_s: float) -> Plan:
    """The plan in force at a time: that of the last monitoring point before it."""
    before = [point.plan for point in course.points if point.time_s <= time_s and point.plan]
    return before[-1] if before else course.points[0].plan


def _under(cluster: ClusterSpec, plan: Plan) -> ClusterSpec:
    """The cluster with a plan to start from, so that candidates pay for leaving it."""
    kinds: Sequence[tuple[tuple[int, int, int, int], int]] = sorted(Counter(plan).items())
    replicas = tuple(
        ReplicaSpec.model_validate(
            {"pool": pool, "tp": tp, "pp": pp, "count": n, "role": _ROLES.get(role, "mixed")}
        )
        for (pool, tp, pp, role), n in kinds
    )
    return cluster.model_copy(update={"replica": replicas})


def _can_start(scenario: Scenario) -> bool:
    try:
        Stretches(scenario.setup, default_policy(), default_policy())
    except SimulationError:
        return False
    return True
