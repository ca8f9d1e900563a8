"""What a controller may know at a monitoring point: work that came, ends that were seen, capacity.

A stretch of the past becomes a scenario to try candidates on. It holds requests that have come by
now, and the course of capacity up to now. The length of an answer that has not ended is not known
yet: its place takes what the predictor said when the request came. Nothing else of the run is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

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
from telemetry.trace import Trace

PIECES = 3  # the newest chooses, the others are searched on
FEWEST = 8  # requests of a piece
_ROLES = {PREFILL: "prefill", DECODE: "decode"}


@dataclass(frozen=True, slots=True)
class Past:
    """Stretches of the past, oldest first; the last one is the newest.

    Attributes:
        time_s: of the simulation, when it was looked at.
    """

    time_s: float
    pieces: tuple[Scenario, ...]

    @property
    def training(self) -> tuple[Scenario, ...]:
        """To search on: all but the newest, or the only one."""
        return self.pieces[:-1] or self.pieces

    @property
    def newest(self) -> Scenario:
        """To choose on."""
        return self.pieces[-1]


def past_of(course: Course, piece_s: float | None = None, pieces: int = PIECES) -> Past | None:
    """The latest stretches of a course at the monitoring point where it rests; None without work.

    Args:
        piece_s: length of a stretch in seconds of the trace; the pair's own by default.
    """
    length_s = piece_s or course.ground.spec.piece_s
    point = course.points[-1]
    edges = [point.released_s - k * length_s for k in range(pieces, -1, -1)]
    known = known_trace(course)
    found = []
    for number, (start_s, stop_s) in enumerate(pairwise(edges)):
        if stop_s > 0.0:
            piece = _piece(course, known, max(start_s, 0.0), stop_s, f"p{number}")
            found += [piece] if piece is not None else []
    return Past(point.time_s, tuple(found)) if found else None


def stretch_known(course: Course, start_s: float, stop_s: float) -> Scenario | None:
    """A stretch of a course that has ended, for references that look back."""
    return _piece(course, course.ground.trace, start_s, stop_s, f"r{start_s:g}")


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


def _piece(
    course: Course, known: Trace, start_s: float, stop_s: float, name: str
) -> Scenario | None:
    first = int(np.searchsorted(known.arrival_s, start_s))
    count = int(np.searchsorted(known.arrival_s, stop_s)) - first
    if count < FEWEST:
        return None
    begun_s = start_s
    if course.mode == "backlog":
        begun_s = float(course.run.sim.requests[first]["entered"]) / PS_PER_S
    stretch = replace(known.slice(start_s, stop_s), span_s=stop_s - start_s)
    cluster = course.ground.cluster
    capacity = _up_to(course.ground.capacity, begun_s, course.now_s)
    scenario = Scenario(
        name, stretch, cluster, capacity, 0.0, course.seed, course.mode, start_s, stop_s
    )
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
