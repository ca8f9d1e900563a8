"""Makes a policy ready that is to decide plans too: all three hooks loaded, the planner's tried."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sandbox import frame
from sandbox.cluster import ClusterSpec
from sandbox.engine import EngineName
from sandbox.errors import PolicyFault
from serving_adapter.activation import Prepare, Ready, Rows, new_memory, prepare_policy
from serving_adapter.errors import PlanRefused, PolicyUnusable
from serving_adapter.planning.cluster_rows import ClusterRows
from serving_adapter.planning.plan_rows import fill_plan, new_plan, read_plan
from serving_adapter.planning.wanted import ReplicaReading
from serving_adapter.planning.window import Tally, WindowRows
from serving_adapter.request_log import RequestOutcome

PLANNER_HOOKS = ("should_reschedule", "schedule")
PLANNED_HOOKS = ("route", *PLANNER_HOOKS)


def planner_fuel(spec: ClusterSpec) -> int:
    """Fuel of one call of a planner hook: what its time is worth, as the simulator gives it."""
    return round(spec.price.planner_s * 1e9 / spec.price.fuel_ns)


def prepare_planned(spec: ClusterSpec, engine: EngineName = "auto") -> Prepare:
    """A `Prepare` for hosts that plan: `route` and the planner's hooks, each smoke-tested."""
    cluster, fuel = ClusterRows(spec), planner_fuel(spec)

    def prepare(source: str, parameters: Mapping[str, float] | None = None) -> Ready:
        ready = prepare_policy(source, parameters, engine=engine, hooks=PLANNED_HOOKS)
        try_planner(ready, cluster, fuel)
        return ready

    return prepare


def try_planner(ready: Ready, cluster: ClusterRows, fuel: int) -> None:
    """Ask for plans on synthetic records: no plan yet, a plan at rest, a plan under load.

    Raises:
        PolicyUnusable: a hook faults, or wants what cannot be.
    """
    if ready.loaded is None:
        return
    caller, memory = frame.Caller(ready.loaded), new_memory()
    present, usual = cluster.usual(), cluster.starting_plan()
    for running, rate_rps in (((), 0.0), (usual, 0.0), (usual, 50.0)):
        window, plan, wanted = _window(rate_rps), new_plan(), new_plan()
        fill_plan(plan, running, [ReplicaReading(spec=spec) for spec in running])
        cluster.fill(present, running, (500.0, 100.0) if rate_rps else (math.nan, math.nan))
        try:
            if "should_reschedule" in ready.loaded.hooks:
                caller.should_reschedule(window, cluster.row, plan, memory, fuel)
            if "schedule" in ready.loaded.hooks:
                caller.schedule(window, cluster.row, plan, wanted, memory, fuel)
                if wanted[0]["n_replicas"] or not _asks_for_gpus(cluster):
                    read_plan(wanted, cluster, present)
        except (PolicyFault, PlanRefused) as fault:
            raise PolicyUnusable(f"The policy failed its planner's smoke test: {fault}") from fault


def _window(rate_rps: float) -> Rows:
    """A window of ten seconds with that many requests a second, or of nothing."""
    rows, tally = WindowRows(), Tally()
    rows.close(tally.sums, 10.0)
    for number in range(round(rate_rps * 10.0)):
        tally.arrived(number / rate_rps, 500)
        tally.ended(RequestOutcome.OK, output_tokens=100, ttft_s=0.1, e2e_s=1.0)
    rows.close(tally.sums, 20.0)
    window = rows.window
    row = window[0]
    row["plan_feasible"] = True
    for name in ("busy", "rate_at_plan_rps", "last_switch_s"):
        row[name] = math.nan
    row["since_plan_s"] = row["since_capacity_change_s"] = row["serving_s"] = 20.0
    return window


def _asks_for_gpus(cluster: ClusterRows) -> bool:
    """A planner may ask an elastic pool for GPUs before it can plan anything."""
    return any(pool.elastic for pool in cluster.spec.pool)
