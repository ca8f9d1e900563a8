"""The probe: some requests of training on which faults and twins show before anything is paid.

Most branches of a policy are taken seldom, so the probe is four short stretches put one after the
other: the busiest, the quietest, and those about the longest prompt and the longest answer. Where
GPUs come and go it is one stretch about the change that most requests see. Its decisions are
interpreted, so that no machine code is made for a text that is not new.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sandbox.capacity import Pairing
from sandbox.replay import default_policy
from sandbox.scenario import Scenario, outcome_of
from sandbox.simulation import Setup, SimulationError
from telemetry.trace import Trace, concat

NAME = "probe"
STRETCH = 100  # requests of each of the four: with 75 two twins of a hundred texts were none
PLANNED_REQUESTS = 300  # of the one about a change of capacity
BEFORE = 0.3  # share of the requests that come before the change of capacity


def probe_of(whole: Setup, stop_s: float) -> Scenario | None:
    """A probe out of the first `stop_s` seconds of a trace; None when no plan fits anywhere.

    Args:
        whole: the trace at its load, with its cluster, capacity, mode and seed.
        stop_s: where training ends; nothing after it is in the probe.
    """
    searched = whole.trace.slice(0.0, min(stop_s, whole.trace.span_s))
    if whole.capacity is None:
        places, size = _telling(searched, min(STRETCH, len(searched))), STRETCH
        parts = concat([_stretch(searched, first, size) for first in places])
        found = _scenario(whole, parts, float(searched.arrival_s[places[0]]), stop_s)
        return found if _starts(found) else None
    for first in _changes(searched, whole.capacity, stop_s):
        start_s = float(searched.arrival_s[first])
        part = _stretch(searched, first, PLANNED_REQUESTS)
        found = _scenario(whole, part, start_s, stop_s)
        if _starts(found):
            return found
    return None


def _telling(searched: Trace, size: int) -> list[int]:
    """First requests of the four stretches, in order of time, each once."""
    work = _work(searched, size)
    longest = (int(np.argmax(searched.prompt_tokens)), int(np.argmax(searched.output_tokens)))
    last = len(searched) - size
    about = [min(max(row - size // 2, 0), last) for row in longest]
    return sorted({int(np.argmax(work)), int(np.argmin(work)), *about})


def _work(searched: Trace, size: int) -> NDArray[np.float64]:
    """Tokens a second of each stretch of so many requests."""
    tokens = np.concatenate([[0], np.cumsum(searched.prompt_tokens + searched.output_tokens)])
    arrivals: NDArray[np.float64] = searched.arrival_s
    span_s = np.maximum(arrivals[size - 1 :] - arrivals[: len(arrivals) - size + 1], 1e-9)
    return np.asarray((tokens[size:] - tokens[:-size]) / span_s)


def _changes(searched: Trace, capacity: Pairing, stop_s: float) -> list[int]:
    """Where stretches about a change of capacity begin, the busiest first; then the busiest."""
    size = min(PLANNED_REQUESTS, len(searched))
    work = _work(searched, size)
    times = capacity.trace.time_s
    changes = times[(times > 0.0) & (times < stop_s)]
    first = np.searchsorted(searched.arrival_s, changes) - round(BEFORE * size)
    first = np.clip(first, 0, len(searched) - size)
    order = np.lexsort((first, -work[first]))
    return [*dict.fromkeys(first[order].tolist()), int(np.argmax(work))]


def _stretch(searched: Trace, first: int, size: int) -> Trace:
    """So many requests from one on, their pace kept."""
    arrivals, end = searched.arrival_s, first + size
    start_s = float(arrivals[first])
    end_s = float(arrivals[end]) if end < len(arrivals) else searched.span_s
    return searched.slice(start_s, max(end_s, float(np.nextafter(start_s, np.inf))))


def _scenario(whole: Setup, trace: Trace, start_s: float, stop_s: float) -> Scenario:
    """The requests as a window; capacity goes on until training ends."""
    capacity = None
    if whole.capacity is not None:
        capacity = whole.capacity.slice(start_s, min(stop_s, whole.capacity.trace.span_s))
    return Scenario(
        NAME, trace, whole.cluster, capacity, 0.0, whole.seed, whole.mode, start_s, stop_s, True
    )


def _starts(scenario: Scenario) -> bool:
    """Does any plan fit what is there at the start?"""
    try:
        outcome_of(scenario, default_policy())
    except SimulationError:
        return False
    return True
