"""Where the weights of a starting engine come from, how long they take, and what a start spent.

A start is a load and then a boot (process, graph capture, warm-up: `switch.start_s`). The load
takes the nearest copy there is at that moment: an active engine with the same shards on the same
node (over the GPU link), the node's host memory if it was filled since the node came (over the
host link), else storage. Storage serves all loads at equal shares: its clock counts picoseconds of
sole use that each of them has received, so a load that needs w of them ends when the clock has
moved on by w, and only the earliest end needs an event. No load is faster than the host link.
Without `switch.storage_bytes_per_s` every node holds the weights in host memory from the start.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.heaps import push_event
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.state import (
    ACTIVE,
    BOOT,
    HOST,
    LEAVING,
    LOADED,
    NEVER,
    PEER,
    READY,
    STARTING,
    STORAGE,
    Sim,
)


@kernel
def _node_of(s: Sim, g: int) -> tuple[int, int]:
    """First GPU of a GPU's node, and the one after its last."""
    pool = s.pools[s.gpus[g].pool]
    first = g - (g - pool.first_gpu) % pool.node_size
    return first, min(first + pool.node_size, pool.first_gpu + pool.gpus)


@kernel
def node_has_copy(s: Sim, g: int) -> bool:
    """Does the host memory of this GPU's node hold the weights? It does while any GPU stays."""
    first, last = _node_of(s, g)
    for k in range(first, last):
        if s.gpus[k].present and s.gpus[k].copy:
            return True
    return False


@kernel
def _has_peer(s: Sim, i: int) -> bool:
    """Is an active engine of the same pool, TP and PP on the same node?"""
    inst = s.instances[i]
    for k in range(len(s.instances)):
        other = s.instances[k]
        if (
            k != i
            and (other.state == ACTIVE or other.state == LEAVING)
            and other.node == inst.node
            and other.shape == inst.shape
            and not other.stuck
        ):
            return True
    return False


@kernel
def _nearest_copy(s: Sim, i: int) -> int:
    inst = s.instances[i]
    if not s.settings[0].has_storage:
        return HOST
    if _has_peer(s, i):
        return PEER
    for n in range(inst.gpus):
        if not node_has_copy(s, inst.gpu[n]):
            return STORAGE
    return HOST


@kernel
def _keep_copy(s: Sim, i: int) -> None:
    """The nodes of an engine that has loaded keep the weights in host memory."""
    inst = s.instances[i]
    for n in range(inst.gpus):
        first, last = _node_of(s, inst.gpu[n])
        for g in range(first, last):
            s.gpus[g].copy = s.gpus[g].present


@kernel
def _tell_storage(s: Sim, now: int) -> None:
    """Bring the clock of storage up to `now`."""
    totals = s.totals[0]
    if totals.storage_users > 0:
        passed = now - totals.storage_at + totals.storage_rest
        totals.storage_clock += passed // totals.storage_users
        totals.storage_rest = passed % totals.storage_users
    totals.storage_at = now


@kernel
def _is_reading(s: Sim, i: int) -> bool:
    inst = s.instances[i]
    return inst.state == STARTING and inst.source == STORAGE and inst.load_end != NEVER


@kernel
def _await_storage(s: Sim, now: int) -> None:
    """An event when the next load from storage ends; what was announced before means nothing."""
    totals = s.totals[0]
    totals.storage_turn += 1
    if totals.storage_users == 0:
        totals.storage_rest = 0
        return
    first = NEVER
    for i in range(len(s.instances)):
        if _is_reading(s, i):
            first = min(first, s.instances[i].load_end)
    left = (first - totals.storage_clock) * totals.storage_users - totals.storage_rest
    push_event(s, now + max(left, 0), LOADED, -1, totals.storage_turn)


@kernel
def _boot(s: Sim, i: int, loaded_at: int) -> None:
    inst = s.instances[i]
    inst.loaded_at = loaded_at
    inst.load_end = NEVER
    inst.ready_at = loaded_at + s.shapes[inst.shape].boot
    push_event(s, inst.ready_at, READY, i, inst.id)


@entry
def load_weights(s: Sim, i: int, now: int, at_once: int) -> int:
    """A new engine begins to load; its READY event follows when its end is known."""
    inst = s.instances[i]
    inst.born = now
    inst.load_end = NEVER
    inst.source = HOST
    if at_once == 1:
        inst.loaded_at = inst.ready_at = now
        _keep_copy(s, i)
        push_event(s, now, READY, i, inst.id)
        return 0
    inst.source = _nearest_copy(s, i)
    s.totals[0].starts[inst.source] += 1
    if inst.source != STORAGE:
        _boot(s, i, now + s.shapes[inst.shape].load[inst.source])
        return 0
    _tell_storage(s, now)
    s.totals[0].storage_users += 1
    inst.loaded_at = NEVER
    inst.load_end = s.totals[0].storage_clock + s.shapes[inst.shape].load[STORAGE]
    _await_storage(s, now)
    return 0


@entry
def stop_loading(s: Sim, i: int, now: int) -> int:
    """A starting engine is given up or broken: storage is free for the others."""
    if not _is_reading(s, i):
        return 0
    _tell_storage(s, now)
    s.totals[0].storage_users -= 1
    s.instances[i].load_end = NEVER
    _await_storage(s, now)
    return 0


@entry
def storage_event(s: Sim, turn: int, now: int) -> int:
    """Loads from storage ended, unless something changed after they were announced."""
    totals = s.totals[0]
    if turn != totals.storage_turn:
        return 0
    _tell_storage(s, now)
    for i in range(len(s.instances)):
        inst = s.instances[i]
        if _is_reading(s, i) and inst.load_end <= totals.storage_clock:
            totals.storage_users -= 1
            _keep_copy(s, i)
            _boot(s, i, max(now, inst.born + s.shapes[inst.shape].load[HOST]))
    _await_storage(s, now)
    return 0


@kernel
def note_start_over(s: Sim, i: int, now: int) -> None:
    """Count what a start took: GPU time that loaded, by source, and GPU time that booted."""
    inst, totals = s.instances[i], s.totals[0]
    passed = now - inst.born
    loading = passed
    if inst.loaded_at != NEVER:
        loading = min(inst.loaded_at - inst.born, passed)
    totals.phase_ps[inst.source] += float(loading) * inst.gpus
    totals.phase_ps[BOOT] += float(passed - loading) * inst.gpus
    inst.born = now


@kernel
def count_unfinished(s: Sim, now: int) -> None:
    """At the end of a run: what starts and drains that are not over took so far."""
    for i in range(len(s.instances)):
        inst = s.instances[i]
        if inst.state == STARTING:
            note_start_over(s, i, now)
        elif inst.state == LEAVING and inst.drained_from >= 0:
            s.totals[0].drain_ps += float(now - inst.drained_from) * inst.gpus
            inst.drained_from = now
