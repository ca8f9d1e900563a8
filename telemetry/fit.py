"""Fits small profiles to traces: rates and burstiness by piece, lengths by segment and tenant.

Shipped profiles are made from the published files with ``evolver trace fit FILE -o OUT``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from telemetry.blocks import roots
from telemetry.capacity import CapacityTrace
from telemetry.errors import FormatError, ProfileError
from telemetry.profile import (
    CapacityProfile,
    Level,
    Mix,
    Pool,
    Profile,
    Reuse,
    Sessions,
    TrafficProfile,
)
from telemetry.quantiles import Table, table
from telemetry.trace import Trace
from telemetry.window import capacity_row, interarrival_cv

MAX_PIECES = 288
ARRIVALS_PER_PIECE = 100
MAX_TABLES = 48
MAX_TENANTS = 6
ARRIVALS_PER_TABLE = 100
MAX_LEVELS = 33
_MIN_GAPS = 12
_CV_LIMITS = (0.05, 10.0)
_GROWTH_LIMIT = 0.998
_GROWTH_EDGES = (0.25, 0.5, 0.75, 0.9, 0.95)
_TURN_EDGES = (0.5, 0.75, 0.9)


def fit_file(
    path: str | Path, format: str | None = None, name: str = "", **options: object
) -> Profile:
    """Fit the right kind of profile to a request or capacity file; ``name`` it, or by the file."""
    profile = _fit_file(path, format, options)
    return replace(profile, name=name) if name else profile


def _fit_file(path: str | Path, format: str | None, options: dict[str, object]) -> Profile:
    from telemetry.capacity_readers import CAPACITY_FORMATS, read_capacity
    from telemetry.readers import read_trace

    if format in CAPACITY_FORMATS:
        return fit_capacity(read_capacity(path, format, **options))
    try:
        return fit_profile(read_trace(path, format, **options))
    except FormatError as no_trace:
        if format is not None:
            raise
        try:
            return fit_capacity(read_capacity(path, None, **options))
        except FormatError as no_capacity:
            raise no_trace if "no capacity format" in str(no_capacity) else no_capacity from None


def fit_profile(trace: Trace) -> TrafficProfile:
    """A profile of the trace: numbers only, no row of it can be read back."""
    opened = np.flatnonzero(trace.after < 0)
    if len(opened) < 2 or trace.span_s <= 0:
        raise ProfileError("A profile needs at least two open arrivals in a window longer than "
                           "0 s; give a longer trace.")
    rates, cvs = _rates(trace.arrival_s[opened], trace.span_s)
    tenant, tenants = _merged_tenants(trace)
    notes = ["A trace longer than the fitted one goes through its rates and mixes again."]
    if (trace.after >= 0).any():
        notes.append("Sessions are generated as chains; fan-out is not kept.")
    return TrafficProfile(
        name=trace.meta.name, source=trace.meta.source, licence=trace.meta.licence,
        requests=len(trace), span_s=trace.span_s, rate_rps=trace.rate_rps,
        cv_iat=interarrival_cv(trace.arrival_s) or 1.0, rates_rps=rates, cvs=cvs, tenants=tenants,
        online_share=float(trace.online.mean()),
        segments=_segments(trace, opened, tenant, tenants), sessions=_sessions(trace),
        reuse=_reuse(trace, opened), block_tokens=trace.block_tokens,
        notes=(*trace.meta.notes, *notes))


def _rates(arrivals: NDArray[np.float64], span_s: float) -> tuple[Table, Table]:
    """Requests a second and CV of each piece; a piece with few gaps takes the typical CV."""
    pieces = int(np.clip(len(arrivals) // ARRIVALS_PER_PIECE, 1, MAX_PIECES))
    edges = np.linspace(0.0, span_s, pieces + 1)
    place = np.minimum(np.searchsorted(edges, arrivals, side="right") - 1, pieces - 1)
    counts = np.bincount(place, minlength=pieces)
    rates = counts * pieces / span_s
    gaps = np.diff(arrivals) * rates[place[1:]]
    inside = place[1:] == place[:-1]
    typical = float(np.clip(gaps[inside].std(), *_CV_LIMITS)) if inside.sum() > _MIN_GAPS else 1.0
    cvs = np.full(pieces, typical)
    for piece in np.flatnonzero(counts > _MIN_GAPS):
        own = gaps[inside & (place[1:] == piece)]
        if len(own) >= _MIN_GAPS and own.mean() > 0:
            cvs[piece] = float(np.clip(own.std() / own.mean(), *_CV_LIMITS))
    return tuple(map(float, rates)), tuple(map(float, cvs))


def _merged_tenants(trace: Trace) -> tuple[NDArray[np.int64], int]:
    """Tenants ranked by requests; all beyond the greatest few become one."""
    counts = np.bincount(trace.tenant, minlength=len(trace.tenants))
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    merged = np.minimum(rank[trace.tenant], MAX_TENANTS)
    return merged, int(merged.max()) + 1


def _segments(
    trace: Trace, opened: NDArray[np.int64], tenant: NDArray[np.int64], tenants: int
) -> tuple[tuple[Mix, ...], ...]:
    most = min(MAX_TABLES // tenants, len(opened) // (ARRIVALS_PER_TABLE * tenants))
    count = int(np.clip(most, 1, 12))
    edges = np.linspace(0.0, trace.span_s, count + 1)
    place = np.minimum(np.searchsorted(edges, trace.arrival_s[opened], side="right") - 1, count - 1)
    found: list[tuple[Mix, ...]] = []
    for segment in range(count):
        rows = opened[place == segment]
        # An idle segment sends nothing, yet a longer trace may place a request there.
        rows = rows if len(rows) else opened
        found.append(tuple(_mixes(trace, rows, tenant[rows])))
    return tuple(found)


def _mixes(
    trace: Trace, rows: NDArray[np.int64], tenant: NDArray[np.int64]
) -> Iterator[Mix]:
    for code in np.unique(tenant):
        own = rows[tenant == code]
        prompt, output = trace.prompt_tokens[own], trace.output_tokens[own]
        yield Mix(int(code), len(own) / len(rows), table(prompt), table(output),
                  rank_correlation(prompt, output))


def rank_correlation(first: NDArray[np.int32], second: NDArray[np.int32]) -> float:
    """Spearman's rank correlation, ties given their mean rank; 0 for a constant column."""
    ranks = [_mean_ranks(column) for column in (first, second)]
    spread = float(ranks[0].std() * ranks[1].std())
    if spread == 0:
        return 0.0
    covered = float(((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())).mean())
    return float(np.clip(covered / spread, -1.0, 1.0))


def _mean_ranks(column: NDArray[np.int32]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse.reshape(-1)])


def _sessions(trace: Trace) -> Sessions | None:
    children = np.flatnonzero(trace.after >= 0)
    if not len(children):
        return None
    parents = trace.after[children]
    growth = trace.prompt_tokens[children].astype(np.int64) - trace.prompt_tokens[parents]
    # A jump that happened a few times in all would recur in every long generated session.
    growth = np.minimum(growth, int(np.quantile(growth, _GROWTH_LIMIT)))
    growth_edges, growths = _by_range(trace.prompt_tokens[parents], growth, _GROWTH_EDGES)
    heads = roots(trace.after)
    first, turns = np.unique(heads, return_counts=True)
    turn_edges, turn_tables = _by_range(trace.prompt_tokens[first], turns, _TURN_EDGES)
    shared = _shared_with_parent(trace, children) if trace.block_tokens else np.zeros(1)
    return Sessions(turn_edges, turn_tables, table(trace.think_s[children]), growth_edges, growths,
                    table(trace.output_tokens[children]), table(shared))


def _by_range(
    key: NDArray[np.int32], values: NDArray[np.int64], shares: tuple[float, ...]
) -> tuple[Table, tuple[Table, ...]]:
    """Edges at the quantiles ``shares`` of ``key``, and a table of ``values`` for each range."""
    edges = np.quantile(key, shares)
    at = np.searchsorted(edges, key)
    tables = tuple(table(values[at == place] if (at == place).any() else values)
                   for place in range(len(edges) + 1))
    return tuple(map(float, edges)), tables


def _shared_with_parent(trace: Trace, children: NDArray[np.int64]) -> NDArray[np.float64]:
    """Part of each child's blocks that equals its parent's, from the first in a row."""
    shared = np.zeros(len(children))
    ids, offsets = trace.block_ids, trace.block_offsets
    for at, child in enumerate(children):
        parent = trace.after[child]
        own = ids[offsets[child] : offsets[child + 1]]
        past = ids[offsets[parent] : offsets[parent + 1]]
        both = min(len(own), len(past))
        if both:
            same = own[:both] == past[:both]
            shared[at] = (both if same.all() else int(np.argmin(same))) / len(own)
    return shared


def _reuse(trace: Trace, opened: NDArray[np.int64]) -> Reuse | None:
    """How much of an open arrival's prefix came before, and how far back its last holder was."""
    blocks = trace.blocks.take(opened)
    counts = np.diff(blocks.offsets)
    if not trace.block_tokens or not counts.any():
        return None
    owner = np.repeat(np.arange(len(opened)), counts)
    order = np.argsort(blocks.ids, kind="stable")
    before = np.full(len(owner), -1, np.int64)
    same = np.diff(blocks.ids[order]) == 0
    before[order[1:][same]] = owner[order[:-1][same]]
    seen = (before >= 0) & (before < owner)
    depth = _leading(seen, blocks.offsets, owner)
    reused = np.flatnonzero(depth > 0)
    lags = reused - before[blocks.offsets[reused] + depth[reused] - 1]
    asked = counts > 0
    return Reuse(table(depth[asked] / counts[asked]), table(lags if len(lags) else np.ones(1)))


def _leading(
    seen: NDArray[np.bool_], offsets: NDArray[np.int64], owner: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Per row, how many of its entries are true in a row from the first."""
    broken = np.concatenate([[0], np.cumsum(~seen)])
    clean = broken[1:] - broken[offsets[:-1]][owner] == 0
    return np.bincount(owner[clean], minlength=len(offsets) - 1)


def fit_capacity(trace: CapacityTrace) -> CapacityProfile:
    """A profile of a capacity trace: how long each number of nodes lasts and what follows it."""
    pools = []
    for zone, model, gpus in sorted(set(zip(trace.zone.tolist(), trace.model.tolist(),
                                            trace.gpus.tolist(), strict=True))):
        chosen = (trace.zone == zone) & (trace.model == model) & (trace.gpus == gpus)
        pools.append(Pool(int(chosen.sum()), gpus, zone, trace.models[model],
                          tuple(_levels(trace, chosen))))
    seen = capacity_row(trace)
    return CapacityProfile(
        name=trace.meta.name, source=trace.meta.source, licence=trace.meta.licence,
        kind=trace.kind, span_s=trace.span_s, gap_s=trace.gap_s, mean_up=seen.mean,
        losses_per_day=seen.losses_per_day, pools=tuple(pools), notes=trace.meta.notes)


def _levels(trace: CapacityTrace, chosen: NDArray[np.bool_]) -> Iterator[Level]:
    events = chosen[trace.node]
    steps = np.where(trace.up[events], 1, -1)
    times = np.concatenate([[0.0], trace.time_s[events]])
    level = int(trace.initial_up[chosen].sum()) + np.concatenate([[0], np.cumsum(steps)])
    last = np.append(np.diff(times) > 0, True)
    level = _coarse(level[last], int(chosen.sum()))
    turns = np.concatenate([[0], np.flatnonzero(np.diff(level)) + 1])
    times, level = times[last][turns], level[turns]
    holds = np.diff(np.append(times, trace.span_s))
    for up in np.unique(level):
        here = np.flatnonzero(level == up)
        follows, counts = np.unique(level[here[here < len(level) - 1] + 1], return_counts=True)
        moves = tuple((int(to), float(count / counts.sum()))
                      for to, count in zip(follows, counts, strict=True))
        if not moves and level[0] != up:
            moves = ((int(level[0]), 1.0),)  # seen at the end alone: the trace starts over
        yield Level(int(up), float(holds[here].sum() / trace.span_s),
                    table(np.maximum(holds[here], 1e-3)), moves)


def _coarse(level: NDArray[np.int64], nodes: int) -> NDArray[np.int64]:
    """Large pools are counted in steps, so that a profile stays small."""
    step = -(-nodes // (MAX_LEVELS - 1))
    return level if step <= 1 else np.minimum((level + step // 2) // step * step, nodes)
