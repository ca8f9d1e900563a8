"""Windows under other conditions: what a policy must also be good at, and a second draw of chance.

Each variant changes one thing about one training window: how fast requests come, how they cluster,
how the load moves within the window, how long prompts or answers are, or when GPUs come and go. Its
seed is the same for every policy, so that policies are compared under equal luck. Which window is
varied how is a matter of its place, so that all kinds come up and nothing is drawn.

Requests are conserved: variants of arrivals keep every request as it is, those of lengths keep
every arrival. A request that a finished one reveals keeps its distance to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.cluster import ClusterSpec
from sandbox.predictions import predicts_horizons, predicts_lengths
from sandbox.replay import default_policy
from sandbox.samples import has_samples
from sandbox.scenario import VARIED, Scenario, outcome_of
from sandbox.simulation import SimulationError
from telemetry.blocks import roots
from telemetry.capacity import CapacityTrace
from telemetry.trace import Trace

A_WINDOW = 2  # variants of one training window: the best few of a search run on all of them
RATES = (0.8, 1.25)
LENGTHS = 1.3
CLUSTER_S_TIMES = 20.0  # mean distances between arrivals in one cluster's period
DENSER = 0.5  # a period's requests come in this share of it
RAMP = 0.6  # the rate goes from 1 - RAMP to 1 + RAMP times its mean
SHIFT = 0.1  # of a window's length, by which capacity moves
DOUBTED = 3  # windows of the proof that are also run with other predictions
DOUBTS: dict[str, dict[str, Any]] = {
    "lengths twice as wrong": {"error_factor": 2.0},
    "no lengths": {"mode": "none"},
}
SEED_STEP = 1_000_003  # far from the seeds of other windows

Floats = NDArray[np.float64]
Kind = Callable[[Scenario], Scenario | None]


def variants_of(windows: Sequence[Scenario]) -> tuple[Scenario, ...]:
    """Variants of training windows, side by side; what cannot be varied so is left out."""
    found: list[Scenario] = []
    for k, window in enumerate(windows):
        names = [*(_CAPACITY if window.capacity is not None else ()), *_TRAFFIC]
        turn = k * A_WINDOW
        mine: list[Scenario] = []
        for name in (names[(turn + i) % len(names)] for i in range(len(names))):
            made = _KINDS[name](window) if len(mine) < A_WINDOW else None
            if made is not None:
                mine.append(replace(made, name=f"{window.name}{VARIED}{name}"))
        found += mine
    return tuple(found)


def doubts_of(windows: Sequence[Scenario]) -> tuple[Scenario, ...]:
    """A few windows with predicted lengths twice as far off, and with none at all.

    Nothing about those that predict nothing anyhow.
    """
    apart = max(1, len(windows) // DOUBTED)
    made = (
        replace(one, name=f"{one.name}{VARIED}{name}", cluster=_predicting(one, **change))
        for one in windows[::apart][:DOUBTED]
        if predicts_lengths(one.cluster.predictor)
        for name, change in DOUBTS.items()
    )
    return tuple(made)


def _predicting(window: Scenario, **change: object) -> ClusterSpec:
    spec = window.cluster.predictor.model_copy(update=change)
    return window.cluster.model_copy(update={"predictor": spec})


def second_seeds(windows: Sequence[Scenario]) -> tuple[Scenario, ...]:
    """The same windows with other errors of prediction and samples; none where nothing is drawn."""
    return tuple(
        replace(window, name=f"{window.name}{VARIED}seed", seed=window.seed + SEED_STEP)
        for window in windows
        if _draws(window)
    )


def _draws(window: Scenario) -> bool:
    """Does chance have a part in it, whatever the policy?"""
    spec = window.cluster.predictor
    worsened = spec.mode == "measured" and spec.error_factor > 1.0
    lengths = worsened or (spec.mode == "noisy" and bool(spec.sigma))
    return lengths or predicts_horizons(spec) or has_samples(window.cluster)


def _rate(factor: float) -> Kind:
    """Requests come so many times as fast; the warm-up is as many requests as before."""

    def vary(window: Scenario) -> Scenario:
        return replace(
            window,
            trace=window.trace.scale_rate(factor),
            warmup_s=window.warmup_s / factor,
        )

    return vary


def _lengths(column: str) -> Kind:
    """Longer prompts or answers, none longer than the longest of the window.

    Prompts whose content is known by blocks stay as they are: they would be other prompts.
    """

    def vary(window: Scenario) -> Scenario | None:
        trace = window.trace
        if len(trace) == 0 or (column == "prompt_tokens" and len(trace.block_ids)):
            return None
        grown: dict[str, Any] = {column: longer(trace, column)}
        return replace(window, trace=replace(trace, **grown))

    return vary


def longer(trace: Trace, column: str) -> NDArray[np.int32]:
    """Tokens of a column times `LENGTHS`, within the longest prompt, answer and sum that came."""
    tokens: NDArray[np.int32] = getattr(trace, column)
    total = trace.prompt_tokens.astype(np.int64) + trace.output_tokens
    room = int(total.max()) - (total - tokens)
    most = np.minimum(int(tokens.max()), room)
    grown = np.minimum(np.round(tokens * LENGTHS).astype(np.int64), most)
    return np.asarray(np.maximum(grown, tokens), np.int32)


def _bursts(window: Scenario) -> Scenario | None:
    """Arrivals of each short period come in the first part of it."""
    trace = window.trace
    if len(trace) < 2:
        return None
    period_s = CLUSTER_S_TIMES * trace.span_s / len(trace)

    def clustered(time_s: Floats) -> Floats:
        begin = np.floor(time_s / period_s) * period_s
        return np.asarray(begin + DENSER * (time_s - begin))

    return replace(window, trace=moved(trace, clustered))


def _ramp(sign: float) -> Kind:
    """The measured part's arrivals get denser (or rarer) from its start to its end."""

    def vary(window: Scenario) -> Scenario:
        since, span_s = window.warmup_s, window.trace.span_s - window.warmup_s

        def warped(time_s: Floats) -> Floats:
            share = np.clip((time_s - since) / span_s, 0.0, 1.0)
            slope = sign * RAMP  # solves (1 - slope) x + slope x^2 = share for x
            root = np.sqrt((1.0 - slope) ** 2 + 4.0 * slope * share)
            place = np.clip((root - (1.0 - slope)) / (2.0 * slope), 0.0, 1.0)
            return np.asarray(np.where(time_s < since, time_s, since + span_s * place))

        return replace(window, trace=moved(window.trace, warped))

    return vary


def moved(trace: Trace, clock: Callable[[Floats], Floats]) -> Trace:
    """The same requests with open arrivals and session starts at the times of another clock."""
    start = trace.arrival_s[roots(trace.after)]
    arrivals = clock(start) + (trace.arrival_s - start)
    span_s = max(trace.span_s, float(arrivals.max(initial=0.0)))
    return Trace.of(
        trace.meta,
        arrival_s=arrivals,
        prompt_tokens=trace.prompt_tokens,
        output_tokens=trace.output_tokens,
        tenant=trace.tenant,
        tenants=trace.tenants,
        online=trace.online,
        session=trace.session,
        turn=trace.turn,
        after=trace.after,
        think_s=trace.think_s,
        blocks=trace.blocks,
        joins=trace.joins,
        span_s=span_s,
    )


def _capacity(change: Callable[[CapacityTrace, float], CapacityTrace]) -> Kind:
    """Another course of capacity; None where none changes or no plan fits what is left."""

    def vary(window: Scenario) -> Scenario | None:
        if window.capacity is None or not len(window.capacity.trace.time_s):
            return None
        length_s = window.stop_s - window.start_s
        course = change(window.capacity.trace, SHIFT * length_s)
        varied = replace(window, capacity=replace(window.capacity, trace=course))
        try:
            outcome_of(varied, default_policy())
        except SimulationError:
            return None
        return varied

    return vary


def shifted(course: CapacityTrace, by_s: float) -> CapacityTrace:
    """All changes earlier or later; what would leave the course is at its first or last moment."""
    first_s = min(1.0, course.span_s)
    return _with_events(
        course, np.clip(course.time_s + by_s, first_s, course.span_s), course.node, course.up
    )


def deeper(course: CapacityTrace, _: float) -> CapacityTrace:
    """With each loss another node is lost, and comes back with it."""
    up = course.initial_up.copy()
    partner: dict[int, int] = {}
    more: list[tuple[float, int, bool]] = []
    for time_s, node, is_up in zip(
        course.time_s.tolist(), course.node.tolist(), course.up.tolist(), strict=True
    ):
        up[node] = is_up
        other = partner.pop(node, None) if is_up else _spare(up, course, partner)
        if other is not None:
            up[other] = is_up
            if not is_up:
                partner[node] = other
            more.append((time_s, other, is_up))
    at = np.array([*course.time_s, *(event[0] for event in more)])
    node = np.array([*course.node, *(event[1] for event in more)], np.int32)
    states = np.array([*course.up, *(event[2] for event in more)], np.bool_)
    return _with_events(course, at, node, states)


def _spare(up: NDArray[np.bool_], course: CapacityTrace, partner: dict[int, int]) -> int | None:
    """A node that is up, in no loss of its own; none when it is the last one."""
    able = set(np.flatnonzero(up).tolist()) - set(course.node.tolist()) - set(partner.values())
    return min(able) if able and up.sum() > 1 else None


def _with_events(
    course: CapacityTrace, time_s: Floats, node: NDArray[np.int32], up: NDArray[np.bool_]
) -> CapacityTrace:
    order = np.lexsort((node, time_s))
    sudden = np.zeros(len(time_s), np.bool_)
    sudden[: len(course.unannounced)] = course.unannounced
    return replace(
        course, time_s=time_s[order], node=node[order], up=up[order], unannounced=sudden[order]
    )


_KINDS: dict[str, Kind] = {
    **{f"rate{factor:g}": _rate(factor) for factor in RATES},
    "bursts": _bursts,
    "rising": _ramp(1.0),
    "falling": _ramp(-1.0),
    "prompts": _lengths("prompt_tokens"),
    "answers": _lengths("output_tokens"),
    "earlier": _capacity(lambda course, by_s: shifted(course, -by_s)),
    "later": _capacity(shifted),
    "deeper": _capacity(deeper),
}
_CAPACITY = ("earlier", "later", "deeper")
_TRAFFIC = tuple(name for name in _KINDS if name not in _CAPACITY)
