"""GPU nodes that come and go: availability, demand and fault logs, told apart by their kind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from telemetry.errors import CapacityError
from telemetry.trace import TraceMeta

CapacityKind = Literal["availability", "demand", "faults"]
MAX_SPEED_UP = 4.0
_DTYPES: dict[str, type[np.generic]] = {
    "zone": np.int32, "gpus": np.int32, "model": np.int32, "initial_up": np.bool_,
    "time_s": np.float64, "node": np.int32, "up": np.bool_,
}
_NODE_COLUMNS = ("zone", "gpus", "model", "initial_up")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CapacityTrace:
    """Nodes, their state at time 0, and every change of state after it.

    What ``up`` means depends on ``kind``: *availability* - the node can be had; *demand* - others
    ask for a node; *faults* - the node is healthy. Only `as_availability` turns one into another.

    Attributes:
        span_s: length of the window. gap_s: sampling interval of the file, 0 for an event log.
        zone, zones: zone code of each node (int32 ``[m]``), opaque names by code.
        gpus: int32 ``[m]``, GPUs in each node. model, models: code and name of its GPU model.
        initial_up: bool ``[m]``, state at time 0.
        time_s, node, up: the events, sorted by (time, node), each a change; ``[k]``.
        unannounced: bool ``[k]``, losses that came without notice, as hardware faults do; a
            provider announces the others. All False when left out.
    """

    meta: TraceMeta
    kind: CapacityKind
    span_s: float
    gap_s: float
    zone: NDArray[np.int32]
    zones: tuple[str, ...]
    gpus: NDArray[np.int32]
    model: NDArray[np.int32]
    models: tuple[str, ...]
    initial_up: NDArray[np.bool_]
    time_s: NDArray[np.float64]
    node: NDArray[np.int32]
    up: NDArray[np.bool_]
    unannounced: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def __post_init__(self) -> None:
        object.__setattr__(self, "span_s", float(self.span_s))
        object.__setattr__(self, "gap_s", float(self.gap_s))
        if len(self.unannounced) == 0:
            object.__setattr__(self, "unannounced", np.zeros(len(self.time_s), np.bool_))
        columns: dict[str, type[np.generic]] = {**_DTYPES, "unannounced": np.bool_}
        for name, dtype in columns.items():
            column = np.array(getattr(self, name), dtype=dtype)
            column.flags.writeable = False
            object.__setattr__(self, name, column)
        for law, sentence in _laws(self):
            if not law:
                raise CapacityError(sentence)

    @classmethod
    def of(
        cls, meta: TraceMeta, kind: CapacityKind, *, span_s: float, initial_up: ArrayLike,
        time_s: ArrayLike, node: ArrayLike, up: ArrayLike, gap_s: float = 0.0,
        gpus: ArrayLike = 1, zone: ArrayLike = 0, model: ArrayLike = 0,
        models: Sequence[str] = ("any",),
    ) -> CapacityTrace:
        """Build from events in any order: sorts, drops events that change nothing, names zones."""
        first = np.asarray(initial_up, np.bool_)
        nodes = len(first)
        codes = np.broadcast_to(np.asarray(zone, np.int32), nodes)
        time, at, state = _changes(first, np.asarray(time_s, np.float64),
                                   np.asarray(node, np.int32), np.asarray(up, np.bool_))
        return cls(
            meta=meta, kind=kind, span_s=span_s, gap_s=gap_s, initial_up=first, zone=codes,
            zones=tuple(f"z{code}" for code in range(int(codes.max(initial=0)) + 1)),
            gpus=np.broadcast_to(np.asarray(gpus, np.int32), nodes),
            model=np.broadcast_to(np.asarray(model, np.int32), nodes), models=tuple(models),
            time_s=time, node=at, up=state)

    @property
    def nodes(self) -> int:
        """How many nodes the trace names."""
        return len(self.gpus)

    @property
    def names(self) -> tuple[str, ...]:
        """Opaque node names n0, n1, ... by index."""
        return tuple(f"n{index}" for index in range(self.nodes))

    def counts(self, gpus: bool = False) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The number up as a step function: times ``[j]`` from 0 on, count from each time on."""
        weight = self.gpus.astype(np.int64) if gpus else np.ones(self.nodes, np.int64)
        steps = np.where(self.up, weight[self.node], -weight[self.node])
        level = int(weight[self.initial_up].sum()) + np.concatenate([[0], np.cumsum(steps)])
        times = np.concatenate([[0.0], self.time_s])
        last = np.append(np.diff(times) > 0, True)
        return times[last], level[last].astype(np.int64)

    def sampled(self, step_s: float, gpus: bool = False) -> NDArray[np.int64]:
        """The number up at 0, ``step_s``, 2 ``step_s``, ... before the window's end."""
        times, level = self.counts(gpus)
        ticks = np.arange(0.0, max(self.span_s, step_s), step_s)
        return np.asarray(level[np.searchsorted(times, ticks + 1e-9, side="right") - 1])

    def state_at(self, time_s: float) -> NDArray[np.bool_]:
        """bool ``[m]``: which nodes are up at ``time_s``, events at that time included."""
        state = self.initial_up.copy()
        past = int(np.searchsorted(self.time_s, time_s, side="right"))
        state[self.node[:past]] = self.up[:past]
        return state

    def noting(self, *sentences: str) -> CapacityTrace:
        """The same events with further notes in ``meta``."""
        return replace(self, meta=self.meta.noting(*sentences))

    def slice(self, start_s: float, stop_s: float) -> CapacityTrace:
        """The window ``start_s`` to ``stop_s``; time starts again at 0."""
        if not 0 <= start_s < min(stop_s, self.span_s):
            raise CapacityError(f"A capacity slice from {start_s:g} s to {stop_s:g} s is empty; "
                                f"the trace lasts {self.span_s:g} s.")
        inside = (self.time_s > start_s) & (self.time_s <= stop_s)
        return replace(self, span_s=min(stop_s, self.span_s) - start_s,
                       initial_up=self.state_at(start_s), time_s=self.time_s[inside] - start_s,
                       node=self.node[inside], up=self.up[inside],
                       unannounced=self.unannounced[inside])

    def speed_up(self, factor: float) -> CapacityTrace:
        """The same events ``factor`` times as fast, at most 4; the factor is noted."""
        if not 1 <= factor <= MAX_SPEED_UP:
            raise CapacityError(f"Capacity cannot run {factor:g} times as fast; give a factor "
                                f"within 1..{MAX_SPEED_UP:g}, so that its clock stays real.")
        if factor == 1:
            return self
        faster = replace(self, span_s=self.span_s / factor, gap_s=self.gap_s / factor,
                         time_s=self.time_s / factor)
        return faster.noting(f"Capacity runs {factor:g} times as fast as recorded.")

    def only(self, *models: str) -> CapacityTrace:
        """The nodes of the named GPU models alone."""
        unknown = sorted(set(models) - set(self.models))
        if unknown or not models:
            raise CapacityError(f"There is no GPU model {', '.join(unknown) or 'named'}; "
                                f"this trace has {', '.join(self.models)}.")
        kept = np.isin(self.model, [self.models.index(name) for name in models])
        place = np.cumsum(kept) - 1
        events = kept[self.node]
        columns = {name: getattr(self, name)[kept] for name in _NODE_COLUMNS}
        return replace(self, **columns, time_s=self.time_s[events], up=self.up[events],
                       node=place[self.node[events]], unannounced=self.unannounced[events])

    def digest(self) -> str:
        """sha256 over everything a simulation can read: kind, nodes, window and events."""
        head = [self.kind, self.span_s.hex(), self.gap_s.hex(), self.zones, self.models]
        total = hashlib.sha256(json.dumps(head).encode())
        for name in _DTYPES:
            column: NDArray[Any] = getattr(self, name)
            total.update(f"{name}:{column.dtype.str}:{len(column)};".encode())
            total.update(column.tobytes())
        if self.unannounced.any():
            total.update(b"unannounced;" + self.unannounced.tobytes())
        return total.hexdigest()


def as_availability(trace: CapacityTrace, total: int | None = None) -> CapacityTrace:
    """Availability made of demand or faults, with a note that says how.

    Args:
        trace: availability is returned as it is, unless ``total`` is given, which is refused.
        total: nodes there are in all. Demand: availability is ``total`` less demand, and at least
            0; by default the highest demand of each GPU model. Faults: nodes that the log does not
            name are healthy; by default there are none.
    """
    if trace.kind == "availability":
        if total is not None:
            raise CapacityError("This file counts available nodes already; leave the total out.")
        return trace
    if trace.kind == "faults":
        return _without_faults(trace, total)
    return _headroom(trace, total)


def _without_faults(trace: CapacityTrace, total: int | None) -> CapacityTrace:
    extra = (trace.nodes if total is None else total) - trace.nodes
    if extra < 0:
        raise CapacityError(f"The fault log names {trace.nodes} nodes; give a total of at least "
                            "that many.")
    grown: dict[str, Any] = {}
    for name in _NODE_COLUMNS:
        column = getattr(trace, name)
        grown[name] = np.concatenate([column, column[:1].repeat(extra)])
    grown["initial_up"][trace.nodes:] = True
    healthy = replace(trace, kind="availability", unannounced=~trace.up, **grown)
    return healthy.noting(f"Fault log read as availability: {healthy.nodes} nodes, each away from "
                          f"fault to repair, without notice; {extra} of them never fail in the "
                          "log.")


def _headroom(trace: CapacityTrace, total: int | None) -> CapacityTrace:
    if total is not None and len(trace.models) > 1:
        raise CapacityError(f"A total needs one GPU model, this trace has "
                            f"{', '.join(trace.models)}; choose one first.")
    if total is not None and total < 1:
        raise CapacityError("A total of no nodes leaves nothing; give 1 or more.")
    size = "the highest demand of each GPU model" if total is None else "as declared"
    nodes = trace.nodes if total is None else total
    note = f"Demand read as availability: what is left of {nodes} nodes ({size})."
    if total is None:
        return replace(trace, kind="availability", initial_up=~trace.initial_up,
                       up=~trace.up).noting(note)
    times, demand = trace.counts()
    built = of_counts(trace.meta, "availability", [times], [np.clip(total - demand, 0, total)],
                      span_s=trace.span_s, gap_s=trace.gap_s, models=trace.models, sizes=[total],
                      gpus=[int(trace.gpus.max(initial=1))])
    return built.noting(note)


def of_counts(
    meta: TraceMeta, kind: CapacityKind, times: Sequence[NDArray[np.float64]],
    counts: Sequence[NDArray[np.int64]], *, span_s: float, gap_s: float,
    gpus: Sequence[int] | None = None, models: Sequence[str] = ("any",),
    model: Sequence[int] | None = None, zone: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
) -> CapacityTrace:
    """Nodes out of step series of counts, one series a group; the last node up leaves first.

    Args:
        times, counts: per group, times ``[j]`` (the first is 0) and the count from then on.
        gpus, model, zone: per group. sizes: nodes per group, the highest count by default.
    """
    groups = len(times)
    sizes = sizes or [int(series.max(initial=0)) for series in counts]
    first = np.cumsum([0, *sizes])
    parts = [_steps(times[at], counts[at], int(first[at])) for at in range(groups)]
    initial = np.concatenate([np.arange(sizes[at]) < counts[at][0] for at in range(groups)])
    return CapacityTrace.of(
        meta, kind, span_s=span_s, gap_s=gap_s, models=models, initial_up=initial,
        time_s=np.concatenate([part[0] for part in parts]),
        node=np.concatenate([part[1] for part in parts]),
        up=np.concatenate([part[2] for part in parts]),
        gpus=np.repeat(gpus or [1] * groups, sizes), model=np.repeat(model or [0] * groups, sizes),
        zone=np.repeat(zone or [0] * groups, sizes))


def _steps(
    times: NDArray[np.float64], counts: NDArray[np.int64], first: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    step = np.diff(counts)
    moved = np.abs(step)
    low = np.minimum(counts[1:], counts[:-1])
    starts = np.cumsum(moved) - moved
    within = np.arange(int(moved.sum())) - np.repeat(starts, moved)
    return (np.repeat(times[1:], moved), first + np.repeat(low, moved) + within,
            np.repeat(step > 0, moved))


def _changes(
    initial: NDArray[np.bool_], time: NDArray[np.float64], node: NDArray[np.int32],
    up: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.bool_]]:
    """Sort by (time, node), keep the last state at a time, and drop what changes nothing."""
    order = np.lexsort((np.arange(len(time)), time, node))
    time, node, up = time[order], node[order], up[order]
    new = np.append((np.diff(node) != 0) | (np.diff(time) > 0), True)[: len(time)]
    time, node, up = time[new], node[new], up[new]
    before = np.empty(len(up), np.bool_)
    before[1:] = up[:-1]
    heads = np.append(True, np.diff(node) != 0)[: len(node)]
    before[heads] = initial[node[heads]]
    kept = np.flatnonzero(before != up)
    kept = kept[np.lexsort((node[kept], time[kept]))]
    return time[kept], node[kept], up[kept]


def _laws(trace: CapacityTrace) -> list[tuple[bool, str]]:
    times, nodes = trace.time_s, len(trace.gpus)
    ordered = bool(np.all(np.diff(times) >= 0)) and bool(np.isfinite(times).all())
    fits = all(len(getattr(trace, name)) == nodes for name in _NODE_COLUMNS)
    return [
        (trace.kind in get_args(CapacityKind),
         f"The kind {trace.kind!r} is unknown; give {', '.join(get_args(CapacityKind))}."),
        (nodes > 0 and fits, "A capacity trace needs nodes, each with zone, GPUs and a state."),
        (len(trace.node) == len(times) == len(trace.up) == len(trace.unannounced),
         "Event columns differ in length."),
        (ordered, "Capacity events are not in order of time; use CapacityTrace.of."),
        (not len(times) or bool(times[0] >= 0 and times[-1] <= trace.span_s + 1e-6),
         f"A capacity event lies outside the window of {trace.span_s:g} s; mend span_s."),
        (bool(np.isfinite(trace.span_s)) and trace.span_s > 0,
         "A capacity window must last longer than 0 s."),
        (bool(np.all((trace.node >= 0) & (trace.node < nodes))), "An event names no node."),
        (bool(np.all(trace.gpus >= 1)), "A node without a GPU is no capacity; drop it."),
        (bool(np.all((trace.zone >= 0) & (trace.zone < len(trace.zones)))), "A zone has no name."),
        (bool(np.all((trace.model >= 0) & (trace.model < len(trace.models)))),
         "A GPU model has no name."),
    ]
