"""The probe: a short stretch of training on which faults and twins show before anything is paid.

It is the busiest stretch; where GPUs come and go, the one about the change that most requests see.
Its first half comes as it was recorded, its second half denser, since some policies differ only
while nobody waits and others only under pressure. Its few hundred decisions are interpreted, so
that no machine code is made for a text that is not new.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sandbox.replay import default_policy
from sandbox.scenario import Scenario, outcome_of
from sandbox.simulation import Setup, SimulationError
from sandbox.variants import moved
from telemetry.trace import Trace

NAME = "probe"
REQUESTS = 300
PLANNED_REQUESTS = 600  # where plans change, since planners look at minutes
BEFORE = 0.3  # share of the requests that come before the change of capacity
PRESSED = 2.0  # the second half of the time is so much denser than recorded


def probe_of(whole: Setup, stop_s: float) -> Scenario | None:
    """A probe out of the first `stop_s` seconds of a trace; None when no plan fits anywhere.

    Args:
        whole: the trace at its load, with its cluster, capacity, mode and seed.
        stop_s: where training ends; nothing after it is in the probe.
    """
    searched = whole.trace.slice(0.0, min(stop_s, whole.trace.span_s))
    for first in _places(searched, whole, stop_s):
        scenario = _cut(whole, searched, first, stop_s)
        if _starts(scenario):
            return scenario
    return None


def _size(whole: Setup) -> int:
    replans = whole.capacity is not None or whole.mode == "backlog"
    return PLANNED_REQUESTS if replans else REQUESTS


def _places(searched: Trace, whole: Setup, stop_s: float) -> list[int]:
    """First requests of the stretches to try, the best first."""
    arrivals, size = searched.arrival_s, min(_size(whole), len(searched))
    last = len(searched) - size
    busiest = _busiest(searched, size)
    if whole.capacity is None:
        return [busiest]
    times = whole.capacity.trace.time_s
    changes = times[(times > 0.0) & (times < stop_s)]
    first = np.searchsorted(arrivals, changes) - round(BEFORE * size)
    first = np.clip(first, 0, last)
    spans = arrivals[first + size - 1] - arrivals[first]
    order = np.lexsort((first, spans))
    return [*dict.fromkeys(first[order].tolist()), busiest]


def _busiest(searched: Trace, size: int) -> int:
    """Where `size` requests bring the most tokens a second."""
    tokens = np.concatenate([[0], np.cumsum(searched.prompt_tokens + searched.output_tokens)])
    work = tokens[size:] - tokens[:-size]
    arrivals: NDArray[np.float64] = searched.arrival_s
    span_s = np.maximum(arrivals[size - 1 :] - arrivals[: len(arrivals) - size + 1], 1e-9)
    return int(np.argmax(work / span_s))


def _cut(whole: Setup, searched: Trace, first: int, stop_s: float) -> Scenario:
    """The stretch that begins with a request; capacity keeps its own clock."""
    arrivals, size = searched.arrival_s, _size(whole)
    start_s = float(arrivals[first])
    end = first + size
    end_s = float(arrivals[end]) if end < len(arrivals) else searched.span_s
    stretch = searched.slice(start_s, max(end_s, float(np.nextafter(start_s, np.inf))))
    trace = moved(stretch, lambda time_s: _pressed(time_s, 0.5 * stretch.span_s))
    capacity = None
    if whole.capacity is not None:
        upto_s = min(stop_s, whole.capacity.trace.span_s)
        capacity = whole.capacity.slice(start_s, upto_s)
    return Scenario(
        NAME, trace, whole.cluster, capacity, 0.0, whole.seed, whole.mode, start_s, end_s, True
    )


def _pressed(time_s: NDArray[np.float64], since_s: float) -> NDArray[np.float64]:
    return np.asarray(np.minimum(time_s, since_s) + np.maximum(time_s - since_s, 0.0) / PRESSED)


def _starts(scenario: Scenario) -> bool:
    """Does any plan fit what is there at the start?"""
    try:
        outcome_of(scenario, default_policy())
    except SimulationError:
        return False
    return True
