"""How many replicas the live policy's planner wants, for Serve's controller to read.

One planner thread per deployment and process, whatever objects Serve makes of the autoscaling
class. A call of the controller reads one attribute; readings are taken once per period, and no
policy runs on the controller's own loop.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from sandbox.cluster import ClusterSpec, load_cluster
from sandbox.engine import EngineName
from serving_adapter.actuators.replicas import ReplicaSpec
from serving_adapter.errors import AdapterError
from serving_adapter.planning.cluster_rows import ClusterRows
from serving_adapter.planning.planner import Reading
from serving_adapter.planning.planner_thread import PlannerSettings, PlannerThread
from serving_adapter.planning.switchback import SwitchbackSpec
from serving_adapter.planning.wanted import PlanDecision, ReplicaReading
from serving_adapter.planning.window import MergedSums

ROLES = {"mixed": 0, "prefill": 1, "decode": 2}
METRIC_PREFIX = "evolver_"

_log = logging.getLogger("evolver.ray_serve")


class Context(Protocol):
    """What is used of Serve's `AutoscalingContext`."""

    target_num_replicas: int
    running_replicas: Sequence[Any]
    total_queued_requests: float
    raw_metrics: Mapping[str, Mapping[Any, Any]] | None
    capacity_adjusted_min_replicas: int
    capacity_adjusted_max_replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalerSettings:
    """`policy_kwargs` of the autoscaling class.

    Attributes:
        cluster: the TOML file of the cluster that is planned, or the name of one that ships.
        snapshot, trust, deployment, state, engine: as for routers, on the controller's node.
        pool, tp, pp, role: which entries of a plan are replicas of this deployment.
        period_s: between monitoring points; the cluster file's when None.
        plans: a file for a line per monitoring point; None for none.
        switchback_s, washout_s: how a planner on trial and the present one take turns.
    """

    cluster: str
    snapshot: str
    trust: str
    deployment: str = "default"
    state: str | None = None
    engine: str = "auto"
    pool: int = 0
    tp: int = 1
    pp: int = 1
    role: str = "mixed"
    period_s: float | None = None
    plans: str | None = None
    switchback_s: float = 600.0
    washout_s: float = 180.0

    def planner(self, cluster: ClusterSpec) -> PlannerSettings:
        """The same for a planner."""
        return PlannerSettings(
            cluster=cluster,
            snapshot=Path(self.snapshot),
            trust=Path(self.trust),
            deployment=self.deployment,
            state=Path(self.state) if self.state is not None else None,
            engine=cast("EngineName", self.engine),
            period_s=self.period_s,
            switchback=SwitchbackSpec(period_s=self.switchback_s, washout_s=self.washout_s),
        )


@dataclass(slots=True, eq=False)
class ReplicaCounts:
    """Turns plans into the target of one deployment."""

    settings: AutoscalerSettings
    thread: PlannerThread = field(init=False)
    _spec: ReplicaSpec = field(init=False)
    _period_s: float = field(init=False)
    _reading: Reading | None = None
    _read_s: float = -math.inf
    _merged: MergedSums = field(default_factory=MergedSums)
    _numbers: defaultdict[str, int] = field(
        default_factory=lambda: defaultdict(itertools.count().__next__)
    )

    def __post_init__(self) -> None:
        """Read the cluster file.

        Raises:
            ClusterError: it cannot be used.
            AdapterError: a setting does not fit it.
        """
        settings = self.settings
        cluster = load_cluster(settings.cluster)
        if settings.role not in ROLES or not 0 <= settings.pool < len(cluster.pool):
            raise AdapterError(
                f"{cluster.name} has no pool {settings.pool}, or {settings.role!r} is no role: "
                "correct policy_kwargs."
            )
        role = ROLES[settings.role]
        rows = ClusterRows(cluster)
        self._spec = rows.spec_of(settings.pool, settings.tp, settings.pp, role)
        if not rows.has_shape(self._spec):
            raise AdapterError(
                f"{cluster.name} cannot have {self._spec}: correct tp, pp or the cluster file."
            )
        planner = settings.planner(cluster)
        self._period_s = planner.period_s or cluster.tick.monitoring_s
        self.thread = PlannerThread(planner, lambda: self._reading, self._decided)

    def target(self, context: Context) -> tuple[int, dict[str, Any]]:
        """Replicas wanted within Serve's bounds, and who wants them; the present target before."""
        now_s = time.monotonic()
        if now_s >= self._read_s + 0.5 * self._period_s:
            self._read_s = now_s
            self._reading = self._read(context, now_s)
            self.thread.start()
        plan = self.thread.wanted
        if plan is None:
            return context.target_num_replicas, {}
        shape = self._spec.shape
        count = plan.count(shape.pool, shape.tp, shape.pp, self._spec.role)
        least = context.capacity_adjusted_min_replicas
        most = context.capacity_adjusted_max_replicas
        return min(max(count, least), most), {
            "sequence": plan.sequence,
            "digest": plan.digest,
            "plan": plan.number,
        }

    def _read(self, context: Context, now_s: float) -> Reading:
        self._merged.take(counters_of(context.raw_metrics or {}))
        replicas = tuple(
            ReplicaReading(spec=self._spec, instance=self._numbers[_name(one)])
            for one in context.running_replicas
        )
        return Reading(
            now_s=now_s,
            sums=self._merged.sums.copy(),
            replicas=replicas,
            queued_requests=int(context.total_queued_requests),
        )

    def _decided(self, decision: PlanDecision) -> None:
        if decision.result != "kept":
            _log.info("plan: %s", decision.to_json())
        if self.settings.plans is None:
            return
        try:
            with Path(self.settings.plans).open("a") as file:
                file.write(decision.to_json() + "\n")
        except OSError as error:
            _log.warning("the plan log cannot be written: %s", error.strerror)


def counters_of(raw: Mapping[str, Mapping[Any, Any]]) -> dict[str, dict[str, float]]:
    """The newest value of each of our counters, by replica."""
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for metric, series in raw.items():
        if not metric.startswith(METRIC_PREFIX):
            continue
        for replica, points in series.items():
            if points:
                newest = float(points[-1].value)
                found[_name(replica)][metric.removeprefix(METRIC_PREFIX)] = newest
    return dict(found)


def _name(replica: object) -> str:
    return str(getattr(replica, "unique_id", replica))


_shared: dict[AutoscalerSettings, ReplicaCounts] = {}
_lock = threading.Lock()


def shared_counts(settings: Mapping[str, Any]) -> ReplicaCounts:
    """The one of this process with these settings; Serve makes its objects anew at will.

    Raises:
        AdapterError, ClusterError: the settings cannot be used.
    """
    try:
        wanted = AutoscalerSettings(**settings)
    except TypeError as error:
        raise AdapterError(f"policy_kwargs: {error}; see docs/ray-serve.md.") from None
    with _lock:
        found = _shared.get(wanted)
        if found is None:
            found = _shared[wanted] = ReplicaCounts(wanted)
        return found
