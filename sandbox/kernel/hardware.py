"""GPUs and the engines on them: allocation, start, drain, loss, and whose time is being spent."""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.evict import clear_cache
from sandbox.kernel.heaps import drop_instance_event, set_instance_event
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.knobs import reset_knobs, settle_finetune
from sandbox.kernel.landing import reset_links
from sandbox.kernel.loading import load_weights, node_has_copy, note_start_over, stop_loading
from sandbox.kernel.state import (
    ACTIVE,
    IDLE,
    LEAVING,
    NEVER,
    PS_PER_S,
    STARTING,
    UNUSED,
    Sim,
)


@kernel
def integrate(s: Sim, now: int) -> None:
    """Bring the GPU-time integrals up to `now`: present, loading, idle because a plan is made."""
    totals = s.totals[0]
    dt = float(now - totals.integrated)
    totals.integrated = now
    totals.gpu_ps += dt * totals.gpus_present
    totals.loading_ps += dt * totals.gpus_loading
    if totals.planning:
        totals.blocked_ps += dt * (totals.gpus_present - totals.gpus_loading - totals.gpus_working)
    price = 0.0
    for p in range(len(s.pools)):
        price += s.pools[p].price * s.pools[p].present
        s.pools[p].seen_ps += dt * s.pools[p].present
    totals.price_usd += price * dt / PS_PER_S / 3600.0


@kernel
def _free_in_node(s: Sim, pool: int, first: int, size: int) -> int:
    n = 0
    for g in range(first, first + size):
        gpu = s.gpus[g]
        if gpu.present and gpu.instance < 0 and gpu.leave_at == NEVER and gpu.pool == pool:
            n += 1
    return n


@kernel
def _best_node(s: Sim, pool: int, gpus: int) -> int:
    """First GPU of the node with the fewest, but enough, free GPUs; -1 when none has enough."""
    row = s.pools[pool]
    best, best_free = -1, 1 << 30
    for first in range(row.first_gpu, row.first_gpu + row.gpus, row.node_size):
        size = min(row.node_size, row.first_gpu + row.gpus - first)
        free = _free_in_node(s, pool, first, size)
        if gpus <= free < best_free:
            best, best_free = first, free
    return best


@kernel
def _unused_instance(s: Sim) -> int:
    for i in range(len(s.instances)):
        if s.instances[i].state == UNUSED:
            return i
    return -1


@kernel
def _occupy(s: Sim, i: int, first: int, count: int) -> None:
    inst = s.instances[i]
    g, n = first, 0
    while n < count:
        gpu = s.gpus[g]
        if gpu.present and gpu.instance < 0 and gpu.leave_at == NEVER:
            gpu.instance = i
            inst.gpu[n] = g
            n += 1
        g += 1
    inst.gpus = count
    inst.node = s.gpus[first].node
    s.pools[inst.pool].free -= count


@kernel
def _reset(s: Sim, i: int) -> None:
    """An empty engine of the shape that is set."""
    inst = s.instances[i]
    inst.mode = IDLE
    inst.ends = NEVER
    inst.started = 0
    inst.steps = 0
    inst.last_step = 0
    inst.busy = 0
    inst.count = 0
    inst.decoding = 0
    inst.context = 0
    inst.entered_context = 0
    inst.bins[:] = 0
    inst.wait_root = inst.offline_root = inst.wait_head = inst.wait_tail = -1
    inst.waiting = 0
    inst.waiting_prompt = 0
    inst.done_root = inst.run_head = inst.run_tail = -1
    inst.running = 0
    inst.fill_head = inst.fill_tail = -1
    inst.filling = 0
    inst.backlog = 0
    inst.fill_context = 0
    inst.blocks_total = s.shapes[inst.shape].kv_blocks
    inst.blocks_used = 0
    inst.blocks_cached = 0
    inst.cache_head = inst.cache_tail = inst.denied = -1
    inst.hooks = 0
    inst.evictions = 0
    inst.warm_until = 0
    inst.predicted = 0.0
    inst.offline = 0
    inst.offline_running = 0
    inst.swap_used = 0
    inst.max_seqs = s.settings[0].max_seqs
    reset_knobs(s, i)
    inst.preemptions = 0
    inst.finished_tick = 0
    inst.asked = -1
    inst.tenants = 0
    inst.leaves_at = NEVER
    inst.drained_from = -1
    inst.flipping = False
    inst.stuck = False
    reset_links(s, i)
    s.engine_memory[i, :] = 0.0
    s.tenant_load[i, :] = 0


@entry
def start_engine(s: Sim, j: int, now: int, at_once: int) -> int:
    """Start replica `j` of the plan where GPUs are free; False when there are none."""
    entry = s.plan[0].replicas[j]
    shape = find_shape(s, entry.pool, entry.tp, entry.pp)
    if shape < 0:
        return 0
    if s.pools[entry.pool].free < s.shapes[shape].gpus:
        return 0
    first = _best_node(s, entry.pool, s.shapes[shape].gpus)
    i = _unused_instance(s)
    if first < 0 or i < 0:
        return 0
    inst, totals = s.instances[i], s.totals[0]
    integrate(s, now)
    inst.id = totals.next_id
    totals.next_id += 1
    inst.shape = shape
    inst.pool = entry.pool
    inst.zone = s.pools[entry.pool].zone
    inst.tp = entry.tp
    inst.pp = entry.pp
    _occupy(s, i, first, s.shapes[shape].gpus)
    _reset(s, i)
    adopt(s, i, j)
    inst.state = STARTING
    totals.gpus_loading += inst.gpus
    load_weights(s, i, now, at_once)
    for n in range(inst.gpus):
        if s.gpus[inst.gpu[n]].failed:
            break_engine(s, i, now)
    return 1


@kernel
def break_engine(s: Sim, i: int, now: int) -> None:
    """A GPU of an engine that computes nothing broke: nothing goes on until it is taken away."""
    inst = s.instances[i]
    inst.stuck = True
    if inst.state == STARTING:
        stop_loading(s, i, now)


@kernel
def adopt(s: Sim, i: int, j: int) -> None:
    """Engine `i` realises replica `j` of the plan."""
    inst, entry = s.instances[i], s.plan[0].replicas[j]
    inst.replica = j
    inst.role = entry.role
    inst.length_low = entry.length_low_tokens
    inst.length_high = entry.length_high_tokens
    inst.share = entry.share[0]
    entry.instance = inst.id


@kernel
def find_shape(s: Sim, pool: int, tp: int, pp: int) -> int:
    """Row of `shapes`, -1 when the hardware has no such replica."""
    for k in range(len(s.shapes)):
        shape = s.shapes[k]
        if shape.pool == pool and shape.tp == tp and shape.pp == pp:
            return k
    return -1


@kernel
def engine_ready(s: Sim, i: int, now: int) -> None:
    """The weights are loaded: the engine may take requests."""
    integrate(s, now)
    inst, totals = s.instances[i], s.totals[0]
    note_start_over(s, i, now)
    inst.state = ACTIVE
    totals.gpus_loading -= inst.gpus
    totals.gpus_working += inst.gpus
    inst.tuned_at = now
    set_instance_event(s, i, NEVER)


@kernel
def remove_engine(s: Sim, i: int, now: int) -> None:
    """Give the GPUs of an engine that holds no request back."""
    integrate(s, now)
    inst, totals = s.instances[i], s.totals[0]
    if inst.state == STARTING:
        note_start_over(s, i, now)
        stop_loading(s, i, now)
        totals.gpus_loading -= inst.gpus
    else:
        if inst.state == LEAVING and inst.drained_from >= 0:
            totals.drain_ps += float(now - inst.drained_from) * inst.gpus
        totals.gpus_working -= inst.gpus
        drop_instance_event(s, i)
        settle_finetune(s, i, now, inst.busy)
    totals.busy_at_monitor -= inst.busy
    inst.state = UNUSED
    inst.replica = -1
    inst.id = -1
    for n in range(inst.gpus):
        gpu = s.gpus[inst.gpu[n]]
        gpu.instance = -1
        if gpu.present:
            s.pools[inst.pool].free += 1
    if s.settings[0].has_prefixes:
        clear_cache(s, i)


@kernel
def gpu_present(s: Sim, g: int, present: bool, now: int) -> None:
    """A GPU came or went; whatever engine it carried is gone already."""
    integrate(s, now)
    gpu, totals = s.gpus[g], s.totals[0]
    if gpu.present == present:
        return
    pool = s.pools[gpu.pool]
    gpu.copy = present and node_has_copy(s, g)
    gpu.failed = False
    gpu.present = present
    change = 1 if present else -1
    pool.present += change
    totals.gpus_present += change
    pool.free += change
    if gpu.leave_at != NEVER:
        gpu.leave_at = NEVER
        pool.leaving -= 1
