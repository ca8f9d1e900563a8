"""The workflows of a trace: who reveals whom, what is due by when, and what is left of each.

A workflow is the tree that a first call spans through `Trace.after`, joins included. Its calls
alone on an idle fleet give three numbers by passes over the graph, one level at a time: when a
call is due, how much work is left from it on (its critical path, think times included), and the
horizon, which is what is left from the first call on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sandbox.hardware import Hardware
from sandbox.kernel.state import PS_PER_S
from telemetry.blocks import offsets_of, roots
from telemetry.trace import Trace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Calls and what they reveal.

    Attributes:
        offsets, children: the calls that wait for call ``i`` are
            ``children[offsets[i]:offsets[i + 1]]``, in row order.
        pending: how many calls each one waits for.
        root: the first call of each one's workflow; number: workflows 0, 1, ... by first call.
    """

    offsets: Ints
    children: NDArray[np.int32]
    pending: NDArray[np.int32]
    root: Ints
    number: Ints

    def levels(self) -> Iterator[Ints]:
        """Rows whose parents were all in earlier levels, first calls first."""
        left = self.pending.copy()
        rows = np.flatnonzero(left == 0)
        while len(rows):
            yield rows
            _, children = self.below(rows)
            np.subtract.at(left, children, 1)
            rows = np.unique(children[left[children] == 0])

    def below(self, rows: Ints) -> tuple[Ints, Ints]:
        """The edges out of some rows, as parents and children."""
        counts = np.diff(self.offsets)[rows]
        starts = offsets_of(counts)
        place = np.arange(starts[-1]) - np.repeat(starts[:-1], counts)
        chosen = self.children[np.repeat(self.offsets[rows], counts) + place]
        return np.repeat(rows, counts), chosen.astype(np.int64)


def has_workflows(trace: Trace) -> bool:
    """Does any call wait for another?"""
    return bool((trace.after >= 0).any())


def graph_of(trace: Trace) -> Graph:
    """The graph of all calls of a trace."""
    n = len(trace)
    later = np.flatnonzero(trace.after >= 0)
    parents = np.concatenate([trace.after[later], trace.join_rows]).astype(np.int64)
    children = np.concatenate([later, trace.joins.owners])
    order = np.lexsort((children, parents))
    root = roots(trace.after)
    number = np.cumsum(trace.after < 0) - 1
    return Graph(
        offsets_of(np.bincount(parents, minlength=n)),
        children[order].astype(np.int32),
        np.bincount(children, minlength=n).astype(np.int32),
        root,
        number[root],
    )


def unloaded_s(trace: Trace, hardware: Hardware) -> Floats:
    """Time of each request alone on the fastest shape: prefill, then single decode steps."""
    prefill, decode = unloaded_parts_s(trace, hardware)
    return prefill + decode


def unloaded_parts_s(trace: Trace, hardware: Hardware) -> tuple[Floats, Floats]:
    """The same as prefill and decode, on the shape where their sum is least."""
    best_prefill, best_decode = np.full((2, len(trace)), np.inf)
    for k, shape in enumerate(hardware.shapes):
        context = trace.prompt_tokens + 0.5 * trace.output_tokens
        step = shape["decode_base"] + shape["decode_per_seq"]
        step = step + hardware.step_context[k, 1] / PS_PER_S * context
        prefill, decode = trace.prompt_tokens / shape["prefill_rate"], trace.output_tokens * step
        faster = prefill + decode < best_prefill + best_decode
        best_prefill = np.where(faster, prefill, best_prefill)
        best_decode = np.where(faster, decode, best_decode)
    return best_prefill, best_decode


def due_s(trace: Trace, service_s: Floats, think_s: Floats) -> Floats:
    """When each call would arrive if every call took its `service_s` and no more."""
    graph = graph_of(trace)
    ready, due = np.zeros(len(trace)), trace.arrival_s.copy()
    for level, rows in enumerate(graph.levels()):
        if level > 0:
            due[rows] = ready[rows] + think_s[rows]
        parents, children = graph.below(rows)
        np.maximum.at(ready, children, due[parents] + service_s[parents])
    return due


def remaining_s(trace: Trace, graph: Graph, service_s: Floats) -> Floats:
    """The longest way from each call to the end of its workflow, the call itself included."""
    left, beyond = np.zeros(len(trace)), np.zeros(len(trace))
    for rows in reversed(list(graph.levels())):
        parents, children = graph.below(rows)
        np.maximum.at(beyond, parents, trace.think_s[children] + left[children])
        left[rows] = service_s[rows] + beyond[rows]
    return left


def workflow_times(
    trace: Trace, entered: Ints, finish: Ints, finished: NDArray[np.bool_], since_ps: int
) -> tuple[Floats, int]:
    """Seconds from first entry to last finish of the workflows that finished, and how many began.

    A workflow has finished when all its calls have; it began when its first call entered, and
    counts when that was at `since_ps` or later. A trace in which no call waits has no workflows.
    """
    if not has_workflows(trace):
        return np.zeros(0), 0
    root = roots(trace.after)
    firsts = np.flatnonzero(trace.after < 0)
    missing = np.bincount(root[~finished], minlength=len(trace))[firsts]
    last = np.full(len(trace), -1, np.int64)
    np.maximum.at(last, root, finish)
    began = (entered[firsts] >= since_ps) & (entered[firsts] >= 0)
    whole = began & (missing == 0)
    return (last[firsts] - entered[firsts])[whole] / PS_PER_S, int(began.sum())
