"""Measurements class by class, deadlines met, and how evenly tenants were served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sandbox.classes import classes_of
from sandbox.cluster import ClusterSpec
from telemetry.trace import Trace

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """What became of the requests of a trace that are measured.

    Attributes:
        asked: requests that count: those that entered, and those that never came and were due.
        done: finished ones; ttft, tpot, e2e: seconds, of those; kept: got what was promised.
        idle: seconds that their readers waited for late tokens.
    """

    asked: Marks
    done: Marks
    ttft: Floats
    tpot: Floats
    e2e: Floats
    kept: Marks
    idle: Floats

    def attainment(self, deadline_s: Floats, of: Marks | None = None) -> float:
        """Share of requests with a deadline, of those chosen, that met it; NaN without any."""
        chosen = self.asked & np.isfinite(deadline_s)
        chosen = chosen if of is None else chosen & of
        met = np.zeros(len(chosen), np.bool_)
        met[self.done] = self.e2e <= deadline_s[self.done]
        return float(met[chosen].mean()) if chosen.any() else float("nan")


def by_class(
    served: Served, cluster: ClusterSpec, ids: NDArray[np.int32], deadline_s: Floats
) -> dict[str, Mapping[str, float]]:
    """Numbers of each class that has requests; nothing when one class has all of them."""
    present = np.unique(ids[served.asked])
    if len(present) < 2 and not cluster.classes:
        return {}
    names = [one.name for one in classes_of(cluster)]
    return {names[c - 1]: _numbers(served, ids == c, deadline_s) for c in present}


def _numbers(served: Served, mine: Marks, deadline_s: Floats) -> dict[str, float]:
    among = mine[served.done]
    asked = int((mine & served.asked).sum())
    numbers = {
        "requests": float(asked),
        "finished": float(among.sum()),
        "slo_attainment": float(served.kept[among].sum()) / max(asked, 1),
        "token_deadline_attainment": float((served.idle[among] == 0.0).sum()) / max(asked, 1),
        "deadline_attainment": served.attainment(deadline_s, mine),
    }
    for name in ("ttft", "tpot", "e2e"):
        values = getattr(served, name)[among]
        some = len(values) > 0
        numbers[f"{name}_mean_s"] = float(values.mean()) if some else float("nan")
        numbers[f"{name}_p99_s"] = float(np.percentile(values, 99.0)) if some else float("nan")
    return numbers


def tenant_fairness(served: Served, trace: Trace, alone_s: Floats) -> float:
    """Jain's index of the tenants' mean speed: 1 is even, 1 / tenants is all for one.

    A request's speed is its time alone over the time it took, 0 when it was lost, so that tenants
    who ask for more are not taken for favoured ones. NaN when nobody asked or nobody was served.
    """
    speed = np.zeros(len(trace))
    speed[served.done] = alone_s[served.done] / np.maximum(served.e2e, 1e-12)
    tenant = trace.tenant[served.asked]
    counts = np.bincount(tenant)
    total = np.bincount(tenant, speed[served.asked])
    mean = total[counts > 0] / counts[counts > 0]
    squares = float((mean**2).sum()) * len(mean)
    return float(mean.sum()) ** 2 / squares if squares > 0.0 else float("nan")
