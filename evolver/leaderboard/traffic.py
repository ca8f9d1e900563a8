"""The requests of a scenario: each part read or drawn, then merged by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from evolver.errors import ExperimentRefused
from evolver.leaderboard.spec import Part, Phase
from evolver.leaderboard.workflows import draw_requests
from telemetry.blocks import roots
from telemetry.generator import generate
from telemetry.profile import TrafficProfile, load_profile
from telemetry.readers import read_trace
from telemetry.trace import Trace, concat


def traffic(parts: Sequence[Part], seed: int, traces: Path | None) -> Trace:
    """All parts over one span of time, the first part's; the load is not laid on yet.

    Raises:
        ExperimentRefused: a file is needed and no folder was given, or holds too little.
        TelemetryError: a file or profile cannot be read.
    """
    found = [_marked(part, _source(part, _seed(seed, k), traces)) for k, part in enumerate(parts)]
    span_s = found[0].span_s
    laid = [trace.scale_rate(trace.span_s / span_s) for trace in found]
    if len(laid) == 1 and parts[0].phase == Phase():
        return laid[0]
    return _merged(parts, laid, span_s)


def below(traces: Path | None, name: str) -> Path:
    """A file of the folder of traces; raises `ExperimentRefused` without one, or outside of it."""
    if traces is None:
        raise ExperimentRefused(
            f"The scenario needs {name} of a folder of traces: name the folder with --traces."
        )
    path = traces / name
    if not path.resolve().is_relative_to(traces.resolve()):
        raise ExperimentRefused(f"{name} is not below the folder of traces; move it there.")
    return path


def _seed(seed: int, part: int) -> int:
    return int(np.random.SeedSequence([seed, part]).generate_state(1)[0])


def _source(part: Part, seed: int, traces: Path | None) -> Trace:
    if part.drawn is not None:
        return draw_requests(part.drawn, part.requests or 0, seed)
    if part.profile is not None:
        profile = load_profile(part.profile)
        if not isinstance(profile, TrafficProfile):
            raise ExperimentRefused(f"{part.profile} is of capacity; name a profile of traffic.")
        return generate(profile, n=part.requests, seed=seed)
    trace = read_trace(below(traces, part.file or ""))
    trace = trace.slice(part.from_s, part.until_s or trace.span_s)
    if part.requests is None or part.requests >= len(trace):
        return trace
    return trace.slice(0.0, float(np.nextafter(trace.arrival_s[part.requests - 1], np.inf)))


def _marked(part: Part, trace: Trace) -> Trace:
    if len(trace) < 10:
        raise ExperimentRefused(f"A part of the traffic has {len(trace)} requests; ask for more.")
    if part.tenant is not None:
        nobody = np.zeros(len(trace), np.int32)
        trace = replace(trace, tenant=nobody, tenants=(part.tenant,))
    if part.online is not None:
        trace = replace(trace, online=np.full(len(trace), part.online))
    return trace


def _merged(parts: Sequence[Part], laid: Sequence[Trace], span_s: float) -> Trace:
    """Rows of all parts, each at its own time in its own phase."""
    whole = concat(laid)
    arrival, first = np.empty(len(whole)), 0
    for part, trace in zip(parts, laid, strict=True):
        start = trace.arrival_s[roots(trace.after)]
        moved = _phased(start, part.phase, span_s) + trace.arrival_s - start
        arrival[first : first + len(trace)] = moved
        first += len(trace)
    return Trace.of(
        whole.meta,
        arrival_s=arrival,
        prompt_tokens=whole.prompt_tokens,
        output_tokens=whole.output_tokens,
        tenant=whole.tenant,
        tenants=whole.tenants,
        online=whole.online,
        session=whole.session,
        turn=whole.turn,
        after=whole.after,
        think_s=whole.think_s,
        blocks=whole.blocks if whole.block_tokens else None,
        joins=whole.joins,
        span_s=max(span_s, float(arrival.max())),
    )


def _phased(
    start: np.ndarray[tuple[int], np.dtype[np.float64]], phase: Phase, span_s: float
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Open arrivals of a whole span pressed into the stretches in which the part comes."""
    at = np.minimum(start / span_s, np.nextafter(1.0, 0.0)) * phase.cycles
    within = phase.start + (at - np.floor(at)) * (phase.stop - phase.start)
    return np.asarray((np.floor(at) + within) * span_s / phase.cycles)
