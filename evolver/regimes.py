"""Regimes: which kind of traffic on which kind of fleet a run was about, in numbers to compare.

A regime is a mapping from the names in `AXES` to numbers, made of the training windows and the
cluster file alone. Two regimes are as far apart as their numbers are, each measured in units of its
own: for ratios a unit is a factor, for shares a difference. What one side does not know (the load
of a trace that is replayed as recorded) counts as one unit apart; what neither knows, as nothing.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sandbox.cluster import ClusterSpec
from sandbox.hardware import build_hardware
from sandbox.kernel.calls import HOOKS
from telemetry.trace import Trace
from telemetry.window import DAY_S, Window

Regime = Mapping[str, float]

UNKNOWN = 1.0  # units between a number and none
HOUR_S = 3600.0
_SMALLEST = 1e-3  # what a ratio of zero counts as
_HOOK = "hook_"


@dataclass(frozen=True, slots=True)
class Axis:
    """How one number is compared.

    Attributes:
        unit: the factor (of a ratio) or difference (of anything else) that is one unit.
        ratio: compared by its logarithm.
        offset: added to a ratio that may be zero.
    """

    unit: float
    ratio: bool = False
    offset: float = 0.0

    def between(self, one: float, other: float) -> float:
        """How many units lie between two values, whatever values a store may hold."""
        if not self.ratio:
            return abs(one - other) / self.unit
        logs = [math.log(max(value + self.offset, _SMALLEST)) for value in (one, other)]
        return abs(logs[0] - logs[1]) / math.log(self.unit)


AXES: Mapping[str, Axis] = {
    "load": Axis(1.25, ratio=True),  # arrivals over what the fleet serves
    "burstiness": Axis(1.5, ratio=True),  # CV of inter-arrival times
    "rate_drift": Axis(2.0, ratio=True),  # busiest over calmest sixth
    "prompt_tokens": Axis(2.0, ratio=True),  # means, and p95 over median
    "prompt_spread": Axis(2.0, ratio=True),
    "output_tokens": Axis(2.0, ratio=True),
    "output_spread": Axis(2.0, ratio=True),
    "prefix_reuse": Axis(0.2),  # share of blocks seen before
    "closed_loop": Axis(0.25),  # share of requests that wait for another
    "turns": Axis(2.0, ratio=True),  # requests a session
    "offline": Axis(0.25),  # share of requests
    "tenants": Axis(4.0, ratio=True),
    "kv_full_batch": Axis(2.0, ratio=True),  # KV a full batch needs over what an engine has
    "request_gpu_s": Axis(2.0, ratio=True),  # GPU seconds a request takes at saturation
    "gpus": Axis(2.0, ratio=True),
    "gpu_types": Axis(1.0),
    "disaggregated": Axis(0.5),  # 1: prefill and decode apart
    "capacity_changes_per_hour": Axis(2.0, ratio=True, offset=1.0),
    "backlog": Axis(0.5),  # 1: makespan counts, not latency
    **{f"{_HOOK}{hook}": Axis(2.0) for hook in HOOKS},  # 1: there is something to decide
}


def regime_of(
    trace: Trace,
    window: Window,
    cluster: ClusterSpec,
    hooks: Collection[str],
    *,
    capacity_rps: float = 0.0,
    backlog: bool = False,
) -> dict[str, float]:
    """The regime of a stretch of trace on a cluster.

    Args:
        trace: at its load, the training windows alone.
        window: its summary, with that of the capacity trace where there is one.
        hooks: those that the problem exercises.
        capacity_rps: what the fleet serves of it at saturation; 0 when nobody measured.
    """
    gpus = sum(pool.count for pool in cluster.pool)
    measured = capacity_rps > 0.0
    found: dict[str, float | None] = {
        **_traffic(trace, window),
        "load": window.whole.rate_rps / capacity_rps if measured else None,
        "request_gpu_s": gpus / capacity_rps if measured else None,
        "kv_full_batch": _kv_full_batch(window, cluster),
        "gpus": float(gpus),
        "gpu_types": float(len({pool.gpu for pool in cluster.pool if pool.most})),
        "disaggregated": float(any(entry.role == "prefill" for entry in cluster.replica)),
        "capacity_changes_per_hour": _changes_per_hour(window),
        "backlog": float(backlog),
        **{f"{_HOOK}{hook}": float(hook in hooks) for hook in HOOKS},
    }
    return {name: _rounded(value) for name, value in found.items() if value is not None}


def distance(one: Regime, other: Regime) -> float:
    """Units between two regimes: the Euclidean distance over `AXES`; 0 for equal ones."""
    return math.hypot(*(_apart(axis, one.get(n), other.get(n)) for n, axis in AXES.items()))


def regime_in(document: object) -> dict[str, float] | None:
    """The regime that a stored document is, its unknown names left out; None when it is none."""
    if not isinstance(document, Mapping):
        return None
    known = {name: finite(value) for name, value in document.items() if name in AXES}
    return {name: value for name, value in known.items() if value is not None} or None


def finite(value: object) -> float | None:
    """A stored number as a float, None when it is no finite one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= sys.float_info.max else None


def _apart(axis: Axis, one: float | None, other: float | None) -> float:
    if one is None or other is None:
        return 0.0 if one is other else UNKNOWN
    return axis.between(one, other)


def _traffic(trace: Trace, window: Window) -> dict[str, float | None]:
    whole, parts = window.whole, window.structure
    prompt, output = whole.prompt_tokens, whole.output_tokens
    return {
        "burstiness": whole.cv_iat,
        "rate_drift": window.dynamics.rate_drift,
        "prompt_tokens": prompt.mean,
        "prompt_spread": prompt.p95 / max(prompt.p50, 1.0),
        "output_tokens": output.mean,
        "output_spread": output.p95 / max(output.p50, 1.0),
        "prefix_reuse": parts.reuse_share,
        "closed_loop": parts.closed_loop_share,
        "turns": max(parts.turns.mean, 1.0),
        "offline": float((~trace.online).mean()) if len(trace) else None,
        "tenants": float(max(parts.tenants, 1)),
    }


def _kv_full_batch(window: Window, cluster: ClusterSpec) -> float:
    """KV that a full batch of mean requests, half written, needs on the smallest engine."""
    whole = window.whole
    tokens = whole.prompt_tokens.mean + whole.output_tokens.mean / 2.0
    room = float(build_hardware(cluster).shapes["kv_tokens"].min())
    return cluster.engine.max_num_seqs * tokens / max(room, 1.0)


def _changes_per_hour(window: Window) -> float:
    row = window.capacity
    return 0.0 if row is None else (row.losses_per_day + row.gains_per_day) * HOUR_S / DAY_S


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
