"""Elastic pools: GPUs that the planner asks for, that arrive later, and that are given back.

`want_gpus(cluster, pool, n)` sets what a pool should hold. What is missing is ordered from the GPUs
that the pool offers (a capacity trace says which it does) and arrives `provision_s` later. What is
too much is given back: orders first, then GPUs that carry nothing, never below what the present
plan uses, so that engines which the plan gave up drain before their GPUs go. A GPU that the
provider takes back is ordered anew as soon as another one is offered.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.kernel.hardware import gpu_present
from sandbox.kernel.heaps import push_event
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.loading import node_has_copy
from sandbox.kernel.state import HOST, PROVISIONED, PS_PER_S, STORAGE, Sim

OUTLOOK_S = 600.0  # how far ahead `outlook` looks, and how much it must have seen
RETURN_S = 3600.0  # time constant with which availability is taken to return to its mean


@kernel
def _planned_gpus(s: Sim, p: int) -> int:
    used = 0
    for j in range(s.plan[0].n_replicas):
        entry = s.plan[0].replicas[j]
        if entry.pool == p:
            used += entry.tp * entry.pp
    return used


@kernel
def _order(s: Sim, p: int, missing: int, now: int) -> None:
    pool = s.pools[p]
    for g in range(pool.first_gpu, pool.first_gpu + pool.gpus):
        gpu = s.gpus[g]
        if missing > 0 and gpu.offered and not gpu.present and not gpu.coming:
            gpu.coming = True
            gpu.ticket += 1
            pool.arriving += 1
            missing -= 1
            push_event(s, now + pool.provision, PROVISIONED, g, gpu.ticket)


@kernel
def cancel_order(s: Sim, g: int) -> None:
    """A GPU that was ordered does not come."""
    gpu = s.gpus[g]
    if gpu.coming:
        gpu.coming = False
        s.pools[gpu.pool].arriving -= 1


@kernel
def _give_back(s: Sim, p: int, surplus: int, now: int) -> None:
    pool = s.pools[p]
    for g in range(pool.first_gpu + pool.gpus - 1, pool.first_gpu - 1, -1):
        if surplus > 0 and s.gpus[g].coming:
            cancel_order(s, g)
            surplus -= 1
    for g in range(pool.first_gpu + pool.gpus - 1, pool.first_gpu - 1, -1):
        gpu = s.gpus[g]
        if surplus > 0 and gpu.present and gpu.instance < 0 and not gpu.failed:
            gpu_present(s, g, False, now)
            surplus -= 1


@entry
def adjust_supply(s: Sim, now: int) -> int:
    """Order what elastic pools lack, give back what they have too much."""
    for p in range(len(s.pools)):
        pool = s.pools[p]
        if not pool.elastic or pool.wanted < 0:
            continue
        held = pool.present + pool.arriving
        if held < pool.wanted:
            _order(s, p, pool.wanted - held, now)
        elif held > pool.wanted:
            _give_back(s, p, held - max(pool.wanted, _planned_gpus(s, p)), now)
    return 0


@kernel
def arrives(s: Sim, g: int, ticket: int, now: int) -> bool:
    """A GPU that was ordered is there; False when the order was cancelled."""
    gpu = s.gpus[g]
    if not gpu.coming or gpu.ticket != ticket:
        return False
    cancel_order(s, g)
    gpu_present(s, g, True, now)
    return True


@kernel
def note_wants(s: Sim) -> bool:
    """Read what the planner asked for; True when GPUs of some elastic pool are wanted."""
    asked = False
    for p in range(len(s.pools)):
        pool = s.pools[p]
        pool.asked = pool.wanted
        wanted = s.cluster[0].pools[p].wanted
        if pool.elastic and wanted >= 0:
            pool.asked = min(wanted, pool.most)
        asked = asked or (pool.elastic and pool.asked > 0)
    return asked


@kernel
def forget_wants(s: Sim) -> None:
    """A faulty planner asked for nothing."""
    for p in range(len(s.pools)):
        s.pools[p].asked = s.pools[p].wanted
        s.cluster[0].pools[p].wanted = s.pools[p].wanted


@kernel
def settle_wants(s: Sim) -> None:
    """The planner's time is over: what it asked for is wanted from now on."""
    for p in range(len(s.pools)):
        s.pools[p].wanted = s.pools[p].asked


@kernel
def _outlook(s: Sim, p: int, now: int) -> float:
    """Announced changes, and a return towards the mean number held so far; NaN if unknown.

    It reads what has happened, never the trace ahead.
    """
    pool = s.pools[p]
    if not pool.changed or now < OUTLOOK_S * PS_PER_S:
        return np.nan
    seen = pool.seen_ps + float(now - s.totals[0].integrated) * pool.present
    soon = float(pool.present - pool.leaving + pool.arriving)
    back = (seen / float(now) - soon) * (1.0 - np.exp(-OUTLOOK_S / RETURN_S))
    return soon - pool.present + back


@kernel
def show_supply(s: Sim, now: int) -> None:
    """The fields of the contract's pools that tell of supply."""
    for p in range(len(s.pools)):
        pool, row = s.pools[p], s.cluster[0].pools[p]
        row.elastic = pool.elastic
        row.arriving = pool.arriving
        row.wanted = pool.wanted
        row.outlook = _outlook(s, p, now)
        row.load_bytes_per_s = pool.load
        if s.settings[0].has_storage and not _keeps_copy(s, p):
            row.load_bytes_per_s = min(pool.load, s.settings[0].storage)


@kernel
def _keeps_copy(s: Sim, p: int) -> bool:
    """Does the host memory of any node of the pool hold the weights?"""
    pool = s.pools[p]
    for g in range(pool.first_gpu, pool.first_gpu + pool.gpus, pool.node_size):
        if node_has_copy(s, g):
            return True
    return False


@kernel
def expected_start(s: Sim, k: int) -> int:
    """Start of a lone replica of a shape from the nearest copy that its pool has now, in ps."""
    shape = s.shapes[k]
    source = HOST
    if s.settings[0].has_storage and not _keeps_copy(s, shape.pool):
        source = STORAGE
    return shape.load[source] + shape.boot
