"""The numbers that a scenario may be judged by: those of a replay, of a class, and slow-downs.

`slowdown_*` is a request's time end to end over its time alone on an idle fleet, and
`workflow_slowdown_*` the same of workflows, first call to last answer; its p95 is the least factor
on unloaded times that 95 % of workflows keep to. Unfinished ones are in neither.
`service_gap_tokens` is the largest difference in tokens that two tenants were served, an output
token counting for two, within a time in which both had requests waiting (VTC, arXiv 2401.00588).
`workflow_within_2` is the share of all that began which end within twice that time; 1.5, 2 and 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from evolver.errors import ExperimentRefused
from sandbox.hardware import Hardware, build_hardware
from sandbox.kernel.state import FINISHED, PS_PER_S
from sandbox.metrics import measure
from sandbox.scenario import Scenario as Window
from sandbox.simulation import Outcome
from sandbox.workflows import graph_of, has_workflows, remaining_s, unloaded_s
from telemetry.trace import Trace

Floats = NDArray[np.float64]
MOMENTS = 400  # at which service is compared
_WITHIN = {"workflow_within_1_5": 1.5, "workflow_within_2": 2.0, "workflow_within_3": 3.0}


def measures(outcome: Outcome, window: Window) -> dict[str, float]:
    """Every number of an outcome on a window by name; `class.number` for one class."""
    setup = window.setup
    hardware = build_hardware(setup.cluster)
    metrics = measure(outcome, setup, hardware, window.warmup_s)
    found = {"objective_s": metrics.objective_s, **metrics.flat()}
    for name, numbers in metrics.classes.items():
        found.update({f"{name}.{key}": value for key, value in numbers.items()})
    found["service_gap_tokens"] = _service_gap(outcome, setup.trace)
    return found | _slowdowns(outcome, window, hardware)


def value_of(found: Mapping[str, float], name: str) -> float:
    """One of them; raises `ExperimentRefused` when there is none of that name."""
    if name not in found:
        raise ExperimentRefused(
            f"Nothing here is called {name}; choose from {', '.join(sorted(found))}."
        )
    return found[name]


def _slowdowns(outcome: Outcome, window: Window, hardware: Hardware) -> dict[str, float]:
    trace = window.trace
    alone = unloaded_s(trace, hardware)
    since = round(window.warmup_s * PS_PER_S)
    done = outcome.state == FINISHED
    mine = done & (outcome.entered >= since)
    took = (outcome.finish - outcome.entered) / PS_PER_S
    found = _spread("slowdown", took[mine] / alone[mine])
    if has_workflows(trace):
        graph = graph_of(trace)
        firsts = np.flatnonzero(trace.after < 0)
        left = np.bincount(graph.root[~done], minlength=len(trace))[firsts]
        last = np.full(len(trace), -1, np.int64)
        np.maximum.at(last, graph.root, outcome.finish)
        whole = (left == 0) & (outcome.entered[firsts] >= since)
        rows = firsts[whole]
        took = (last[rows] - outcome.entered[rows]) / PS_PER_S
        slowdown = took / remaining_s(trace, graph, alone)[rows]
        began = max(int((outcome.entered[firsts] >= since).sum()), 1)
        found |= _spread("workflow_slowdown", slowdown)
        found |= {name: float((slowdown <= most).sum()) / began for name, most in _WITHIN.items()}
    return found


def _service_gap(outcome: Outcome, trace: Trace) -> float:
    """See above; NaN with one tenant. Output is taken as even between first and last token."""
    if len(trace.tenants) < 2:
        return math.nan
    came = np.flatnonzero(outcome.entered >= 0)
    end = int(outcome.totals["integrated"])
    entered, first, finish = (
        np.where(at[came] < 0, end, at[came])
        for at in (outcome.entered, outcome.first, outcome.finish)
    )
    times = np.linspace(0, end, MOMENTS)[:, None]
    done = np.clip((times - first) / np.maximum(finish - first, 1), 0.0, 1.0)
    served = (times >= first) * trace.prompt_tokens[came] + 2.0 * done * trace.output_tokens[came]
    waiting = (entered <= times) & (times < first)
    of = trace.tenant[came][:, None] == np.arange(len(trace.tenants))
    return _largest_gap(served @ of, waiting.astype(np.float64) @ of > 0.0)


def _largest_gap(served: Floats, waiting: NDArray[np.bool_]) -> float:
    """Over all pairs of tenants; arrays (moments, tenants)."""
    largest = 0.0
    for one, other in combinations(range(served.shape[1]), 2):
        both = waiting[:, one] & waiting[:, other]
        gap = served[:, one] - served[:, other]
        since = np.maximum.accumulate(np.where(both, -1, np.arange(len(both))))
        grown = np.abs(gap - gap[np.maximum(since, 0)])[both]
        largest = max(largest, float(grown.max(initial=0.0)))
    return largest


def _spread(name: str, values: Floats) -> dict[str, float]:
    if len(values) == 0:
        return {f"{name}_{kind}": float("nan") for kind in ("mean", "p50", "p95", "p99")}
    p50, p95, p99 = np.percentile(values, [50.0, 95.0, 99.0])
    return {
        f"{name}_mean": float(values.mean()), f"{name}_p50": float(p50),
        f"{name}_p95": float(p95), f"{name}_p99": float(p99),
    }  # fmt: skip
