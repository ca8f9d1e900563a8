"""Signals of the contract that a problem leaves silent: there is nothing in it for them to say."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from evolver.directions import SILENT
from evolver.problem import Problem
from evolver.prompt_lines import percent
from evolver.reference import signals
from sandbox.classes import classes_of, classify
from sandbox.cluster import ClusterSpec
from sandbox.language.kinds import fields
from sandbox.signal_profiles import signal_profile
from sandbox.simulation import shares_prefixes
from telemetry.trace import Trace


def silent_lines(problem: Problem, training: Trace) -> Iterable[str]:
    """A line for each record that the hooks to search see; nothing when all may speak."""
    seen = frozenset().union(*(signals(hook) for hook in problem.hooks))
    names = sorted(silent_signals(problem, training) & seen)
    for record in sorted({name.partition(".")[0] for name in names}):
        mine = [name.partition(".")[2] for name in names if name.startswith(f"{record}.")]
        yield f"{SILENT}, of {record}: {', '.join(mine)}."


def door_lines(cluster: ClusterSpec) -> Iterable[str]:
    """What the door that policies run behind knows worse than the simulator; nothing for all."""
    door = signal_profile(cluster.signals)
    if not door.missing:
        return
    yield (
        f"Policies run behind the door {door.name}: {door.summary}. Signals that it does not tell "
        "are missing or always the same; they are among those that say nothing here."
    )
    if "Request.prompt_tokens" in door.estimated:
        yield f"Request.prompt_tokens is estimated, with an error of {percent(door.prompt_error)}."
    if "Instance.cached_prefix_tokens" in door.estimated:
        yield (
            "Instance.cached_prefix_tokens is estimated: what the session's previous call left on "
            "the instance that served it, and 0 elsewhere."
        )


def silent_signals(problem: Problem, training: Trace) -> frozenset[str]:
    """Names as `Request.session`: equal or missing in every decision of this problem.

    Only what the files say counts; a signal left out of this list may still be silent.
    """
    told = signal_profile(problem.cluster.signals)
    silent = {*_of_traffic(problem, training), *_of_fleet(problem), *told.missing}
    known = {f"{record}.{name}" for record, found in fields().items() for name in found}
    return frozenset(silent & known)


def _of_traffic(problem: Problem, training: Trace) -> Iterable[str]:
    cluster = problem.cluster
    ids, online = classify(training, cluster)
    if (training.session < 0).all():
        yield from _of("Request", "session", "turn", "last_instance")
    if (training.after < 0).all():
        yield from (name for name in _all("Request") if ".workflow" in name)
    if len(np.unique(training.tenant)) < 2:
        yield from (
            "Request.tenant",
            *_of("Instance", "tenant_requests", "tenant_count"),
        )
    if online.all() or not online.any():
        yield from ("Request.online", "Running.online", "Entry.online")
    if online.all():
        yield "Instance.offline_requests"
    if len(np.unique(ids)) < 2:
        yield from ("Request.class_id", "Request.weight", "Running.class_id")
    if all(one.deadline_s is None for one in classes_of(cluster)):
        yield "Request.deadline_s"
    if not shares_prefixes(training, cluster):
        yield from ("Request.prefix_key", "Instance.cached_prefix_tokens", "ClassRow.reuse")


def _of_fleet(problem: Problem) -> Iterable[str]:
    cluster, hooks = problem.cluster, problem.hooks
    yield from _of_engines(cluster)
    if "tune" not in hooks:
        yield from (name for name in _all("Instance") if ".knob_" in name)
    if "migrate" not in hooks:
        yield "Request.moved_count"
    if not any(entry.role != "mixed" for entry in cluster.replica) and "schedule" not in hooks:
        yield from _of("Instance", "role", "transfer_s", "handoff_s")
    if problem.capacity is None:
        yield from ("Instance.grace_s", *_of("Pool", "leaving", "grace_s", "outlook"))
        yield from _of("Window", "capacity_changed", "since_capacity_change_s")
    if not any(pool.elastic for pool in cluster.pool):
        yield from _of("Pool", "elastic", "wanted", "arriving")
    if len({pool.zone for pool in cluster.pool}) < 2:
        yield from ("Instance.zone", "Pool.zone")


def _of_engines(cluster: ClusterSpec) -> Iterable[str]:
    predictor = cluster.predictor
    if cluster.speculation.max_depth == 0:
        yield from _of("Instance", "speculation_depth", "acceptance")
    if cluster.finetune is None:
        yield "Instance.finetune_share"
    if cluster.samples is None:
        yield from _of("Request", "branch", "branch_count")
    if predictor.mode == "none" or (predictor.mode == "noisy" and predictor.sigma is None):
        yield from _of("Request", "predicted_output_tokens", "predicted_output_error")
        yield from ("Instance.predicted_remaining_tokens", "Instance.kv_predicted_tokens")
    if cluster.engine.max_pipeline_parallel_size == 1 and all(e.pp == 1 for e in cluster.replica):
        yield from ("Instance.pp", "Shape.pp", "Replica.pp")


def _of(record: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{record}.{name}" for name in names)


def _all(record: str) -> tuple[str, ...]:
    return _of(record, *fields()[record])
