"""The `contract.Plan` that a planner is shown, the plan that it writes, and whether that can be."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

from sandbox import contract
from sandbox.records import new_rows
from serving_adapter.activation import Rows
from serving_adapter.actuators.replicas import Duty, ReplicaSpec, duties_of, specs_of
from serving_adapter.errors import PlanRefused
from serving_adapter.planning.cluster_rows import ClusterRows, PoolReading
from serving_adapter.planning.wanted import ReplicaReading


def new_plan() -> Rows:
    """An empty plan record."""
    return new_rows(contract.Plan, 1)


def fill_plan(
    plan: Rows, wanted: Sequence[ReplicaSpec], replicas: Sequence[ReplicaReading]
) -> None:
    """The present plan, entry by entry, each with the replica that realises it where there is one.

    Args:
        plan: one record; `age_s` and `reconfigurations` are left to the caller.
        wanted: the entries of the plan in force.
        replicas: what there is; those beyond the plan are in no entry.
    """
    row = plan[0]
    row["keep"], row["n_replicas"] = False, min(len(wanted), contract.MAX_REPLICAS)
    found: defaultdict[ReplicaSpec, deque[ReplicaReading]] = defaultdict(deque)
    for replica in sorted(replicas, key=lambda one: not one.ready):
        found[replica.spec].append(replica)
    for entry, spec in zip(row["replicas"], wanted, strict=False):
        entry["pool"], entry["tp"], entry["pp"] = spec.shape.pool, spec.shape.tp, spec.shape.pp
        entry["role"] = spec.role
        entry["length_low_tokens"] = spec.length_low_tokens
        entry["length_high_tokens"] = spec.length_high_tokens
        entry["share"] = spec.share
        seen = found[spec].popleft() if found[spec] else ReplicaReading(spec=spec, ready=False)
        for name in ("instance", "ready", "queued_requests", "running_requests", "kv_used",
                     "rate_rps"):  # fmt: skip
            entry[name] = getattr(seen, name)


def is_feasible(
    wanted: Sequence[ReplicaSpec], cluster: ClusterRows, present: Sequence[PoolReading]
) -> bool:
    """Whether there are replicas, and the GPUs of all of them are there."""
    used = cluster.gpus_used(wanted)
    return bool(wanted) and all(used[number] <= pool.present for number, pool in enumerate(present))


def read_plan(
    plan: Rows, cluster: ClusterRows, present: Sequence[PoolReading]
) -> tuple[ReplicaSpec, ...]:
    """The entries of a plan that a policy wrote, if they can be: the simulator's rules.

    Raises:
        PlanRefused: it has no entry or too many, names a replica or a pool that is not there,
            takes more GPUs than there are, or leaves prompts or answers to nobody.
    """
    count = int(plan[0]["n_replicas"])
    if not 1 <= count <= contract.MAX_REPLICAS:
        raise PlanRefused(f"The plan has {count} replicas: keep the present one.")
    found = specs_of(plan[0], cluster.pools)
    if not all(cluster.has_shape(spec) for spec in found):
        raise PlanRefused("The plan has a replica that the hardware cannot have: keep the old one.")
    if not is_feasible(found, cluster, present):
        raise PlanRefused("The plan takes more GPUs than there are: keep the present one.")
    if duties_of(found) != frozenset(Duty):
        raise PlanRefused("The plan leaves prompts or answers to nobody: keep the present one.")
    return found
