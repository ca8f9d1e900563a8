"""Classes of requests: which class each belongs to, and what that class is promised.

Class 0 stands for all. Without `[[class]]` in the cluster file class 1 is online and class 2
offline work; with it, the declared classes come first, and what none of them matches falls to
`online` and `offline` behind them. The first class that matches takes a request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox import summary, summary_forecast
from sandbox.cluster import ClusterSpec
from sandbox.kernel import state
from sandbox.kernel.readers import SLOWEST_PACE_S
from sandbox.kernel.state import PS_PER_S
from sandbox.request_spec import ClassSpec, SloSpec
from telemetry.trace import Trace

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RequestClass:
    """What one class is promised.

    Attributes:
        deadline_s: from arrival to the last token; None when none was set.
        max_hold_s: longest the policy may hold its requests back.
        drop_late: what has not started by the deadline is rejected.
    """

    name: str
    slo: SloSpec
    weight: float
    deadline_s: float | None
    max_hold_s: float
    drop_late: bool


def classes_of(cluster: ClusterSpec) -> tuple[RequestClass, ...]:
    """The classes of a cluster; the first has `class_id` 1."""
    hold_s = cluster.tick.max_hold_s
    rest = (
        RequestClass("online", cluster.slo, 1.0, None, hold_s, False),
        RequestClass("offline", cluster.offline_slo, 1.0, None, hold_s, False),
    )
    declared = tuple(_resolved(spec, cluster) for spec in cluster.classes)
    return declared if declared and cluster.classes[-1].takes_all else declared + rest


def _resolved(spec: ClassSpec, cluster: ClusterSpec) -> RequestClass:
    offline = spec.offline or (spec.offline is None and spec.online is False)
    usual = cluster.offline_slo if offline else cluster.slo
    hold_s = cluster.tick.max_hold_s if spec.max_hold_s is None else spec.max_hold_s
    return RequestClass(
        spec.name, spec.slo or usual, spec.weight, spec.deadline_s, hold_s, spec.drop_late
    )


def class_rows(cluster: ClusterSpec, engines: int) -> dict[str, NDArray[Any]]:
    """What is counted by class, by its name in `Sim`; preemptions are seen from the beginning."""
    rows = 1 + len(classes_of(cluster))
    sums = np.zeros((rows, summary.WIDTH), np.int64)
    sums[:, summary.WATCHED] = 1
    ends = 2 * cluster.engine.max_num_seqs + 2
    return {
        "class_stats": np.zeros(rows, state.CLASS_STATS),
        "readers": np.zeros((engines, rows), state.READER),
        "leads": np.zeros((engines * rows, ends), state.LEAD),
        "sums": sums,
        "closed": sums.copy(),
        "latest_arrival": np.full(rows, np.nan),
        "outlook": np.array([summary_forecast.new_row()] * rows),
    }


def classify(trace: Trace, cluster: ClusterSpec) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """`class_id` of every request, and whether it is online."""
    online = trace.online.copy()
    ids = np.zeros(len(trace), np.int32)
    for number, spec in enumerate(cluster.classes, start=1):
        mine = (ids == 0) & _matches(spec, trace)
        ids[mine] = number
        if spec.offline is not None:
            online[mine] = not spec.offline
    rest = len(cluster.classes) + np.where(trace.online, 1, 2).astype(np.int32)
    return np.where(ids == 0, rest, ids), online


def _matches(spec: ClassSpec, trace: Trace) -> NDArray[np.bool_]:
    fits = (trace.prompt_tokens >= spec.prompt_min_tokens) & (
        trace.prompt_tokens <= spec.prompt_max_tokens
    )
    if spec.online is not None:
        fits &= trace.online == spec.online
    if spec.tenants:
        fits &= np.isin(np.array(trace.tenants)[trace.tenant], spec.tenants)
    return fits


def fill_classes(sim: state.Sim, trace: Trace, cluster: ClusterSpec) -> None:
    """Classes, weights and promises into the rows of a simulation."""
    known, row = classes_of(cluster), sim.settings[0]
    ids, online = classify(trace, cluster)
    sim.requests["class_id"], sim.requests["online"] = ids, online
    sim.requests["weight"] = np.array([one.weight for one in known])[ids - 1]
    for c, one in enumerate((known[0], *known)):
        row["ttft_slo"][c], row["tpot_slo"][c] = one.slo.ttft_s, one.slo.tpot_s
        row["e2e_slo"][c] = one.slo.e2e_s
        followed = one.slo.tpot_s <= SLOWEST_PACE_S
        row["pace"][c] = round(one.slo.tpot_s * PS_PER_S) if followed else 0
        due_s = one.slo.e2e_s if one.deadline_s is None else one.deadline_s
        row["class_deadline"][c], row["class_late"][c] = due_s, round(due_s * PS_PER_S)
        row["class_hold"][c] = round(one.max_hold_s * PS_PER_S)
        row["class_drops"][c] = one.drop_late
    row["drops_late"] = any(one.drop_late for one in known)


def show_promises(row: np.void, cluster: ClusterSpec) -> None:
    """What each class is promised, into a contract Cluster."""
    known = classes_of(cluster)
    for name in SloSpec.model_fields:
        promised = row[f"{name.removesuffix('_s')}_slo_s"]
        promised[:] = np.nan
        promised[: len(known) + 1] = [getattr(one.slo, name) for one in (known[0], *known)]


def patient(cluster: ClusterSpec, hold_s: float) -> ClusterSpec:
    """The cluster with that much time to hold any request, and none dropped."""
    tick = cluster.tick.model_copy(update={"max_hold_s": hold_s})
    same = {"max_hold_s": None, "drop_late": False}
    classes = tuple(spec.model_copy(update=same) for spec in cluster.classes)
    return cluster.model_copy(update={"tick": tick, "classes": classes})


def promises(cluster: ClusterSpec, ids: NDArray[np.int32]) -> dict[str, Floats]:
    """ttft_s, tpot_s, e2e_s and deadline_s (infinite without one) of each request's class."""
    known = classes_of(cluster)
    table = {name: [getattr(one.slo, name) for one in known] for name in SloSpec.model_fields}
    table["deadline_s"] = [np.inf if one.deadline_s is None else one.deadline_s for one in known]
    return {name: np.array(values)[ids - 1] for name, values in table.items()}
