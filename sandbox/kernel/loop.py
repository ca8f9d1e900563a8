"""The event loop: one clock, four sources of events, one order for equal times."""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.control import control_tick
from sandbox.kernel.engine import begin, end_step, interrupt
from sandbox.kernel.evict import value_all
from sandbox.kernel.handover import ask_decode, landed
from sandbox.kernel.hardware import engine_ready, integrate, remove_engine
from sandbox.kernel.heaps import pop_event
from sandbox.kernel.invariants import check
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.knobs import busy_at, settle_finetune
from sandbox.kernel.loading import count_unfinished, storage_event
from sandbox.kernel.migration import copied, detach
from sandbox.kernel.plans import (
    carry_out,
    lose_engine,
    make_plan,
    monitor,
    plan_ready,
    start_pending,
    valid_plan,
)
from sandbox.kernel.prewarm import prewarm_tick
from sandbox.kernel.queue_hooks import ask_priority
from sandbox.kernel.queues import rekey_queue
from sandbox.kernel.rebalance import migrate
from sandbox.kernel.routing import arrive, deliver, expire, rebuild_views, retry_held
from sandbox.kernel.state import (
    ACTIVE,
    ARRIVAL,
    CAPACITY,
    CONTROL,
    COPIED,
    DEADLINE,
    DETECTED,
    DISPATCH,
    DRAINED,
    HANDOVER,
    LANDED,
    LEAVING,
    LOADED,
    MIGRATION,
    MONITOR,
    NEVER,
    PLAN_READY,
    PROVISIONED,
    READY,
    REKEY,
    RETRY,
    REVEAL,
    STARTING,
    STEP_END,
    Sim,
)
from sandbox.kernel.supply import after_capacity, capacity_event, supply_event


@entry
def start(s: Sim) -> int:
    """Carry out the starting plan in `new_plan`, or the default planner's; ready at time 0."""
    if s.new_plan[0].n_replicas == 0:
        make_plan(s, 0)
    if not valid_plan(s):
        return 0
    carry_out(s, 0, 1)
    return 1


@kernel
def _next_arrival(s: Sim) -> int:
    """When the next open arrival is due; in backlog mode a period waits for the one before."""
    totals = s.totals[0]
    if totals.next_arrival >= len(s.requests):
        return NEVER
    q = s.requests[totals.next_arrival]
    if not s.settings[0].backlog:
        return q.arrival
    if q.period <= totals.period:
        return totals.now
    if totals.outstanding == 0:
        totals.period = q.period
        return totals.now
    return NEVER


@kernel
def _skip_revealed(s: Sim) -> None:
    totals = s.totals[0]
    while totals.next_arrival < len(s.requests) and s.requests[totals.next_arrival].after >= 0:
        totals.next_arrival += 1


@kernel
def _work_left(s: Sim) -> bool:
    totals = s.totals[0]
    return totals.outstanding > 0 or totals.next_arrival < len(s.requests)


@kernel
def _next_event(s: Sim) -> tuple[int, int]:
    """(time, kind) of what happens next."""
    totals, limits = s.totals[0], s.settings[0]
    at, kind = _next_arrival(s), ARRIVAL
    if totals.next_capacity < len(s.capacity):
        t = s.capacity[totals.next_capacity].at
        if t < at or (t == at and kind > CAPACITY):
            at, kind = t, CAPACITY
    if totals.instance_events > 0:
        t = s.instances[s.instance_heap[0]].event_at
        if t < at or (t == at and kind > STEP_END):
            at, kind = t, STEP_END
    if totals.events > 0:
        event = s.events[0]
        if event.at < at or (event.at == at and kind > event.kind):
            at, kind = event.at, event.kind
    if totals.held > 0:
        t = max(totals.next_retry, totals.now)
        if t < at or (t == at and kind > RETRY):
            at, kind = t, RETRY
    if limits.has_priority and totals.next_rekey < at:
        at, kind = totals.next_rekey, REKEY
    if (limits.has_migrate or limits.move_running) and totals.next_migration < at:
        at, kind = totals.next_migration, MIGRATION
    if limits.has_control and totals.next_control < at:
        at, kind = totals.next_control, CONTROL
    if totals.next_monitor < at:
        at, kind = totals.next_monitor, MONITOR
    return at, kind


@kernel
def _rekey(s: Sim, now: int) -> None:
    s.totals[0].next_rekey = now + s.settings[0].rekey
    for i in range(len(s.instances)):
        inst = s.instances[i]
        if inst.state != ACTIVE or inst.waiting == 0 or inst.stuck:
            continue
        r = inst.wait_head
        while r >= 0:
            s.requests[r].priority = ask_priority(s, i, r, now)
            r = s.requests[r].list_next
        rekey_queue(s, i)
        inst.asked = -1
        interrupt(s, i, now)


@kernel
def _step_end(s: Sim, now: int) -> None:
    i = s.instance_heap[0]
    inst = s.instances[i]
    finished = end_step(s, i, now)
    if inst.going > 0:
        detach(s, i, now)
    if inst.state == LEAVING and inst.running + inst.waiting + inst.kept == 0:
        remove_engine(s, i, now)
        start_pending(s, now, 0)
    else:
        begin(s, i, now)
    if finished > 0:
        s.totals[0].next_retry = now  # after all step ends of this time


@kernel
def _note_switch(s: Sim, now: int) -> None:
    """One more engine of the plan is ready; the first plan of all is no switch."""
    if s.totals[0].reconfigurations > 0:
        s.totals[0].last_switch = now - s.totals[0].switch_from


@kernel
def _engine_event(s: Sim, kind: int, i: int, instance_id: int, now: int) -> None:
    """Ready or drained; an event of an engine that is gone means nothing."""
    inst = s.instances[i]
    if inst.id != instance_id:
        return
    if kind == READY and inst.flipping and inst.ready_at == now:
        inst.flipping = False
        _note_switch(s, now)
        interrupt(s, i, now)
    elif kind == READY and inst.state == STARTING and not inst.stuck:
        engine_ready(s, i, now)
        _note_switch(s, now)
        rebuild_views(s)
        retry_held(s, now)
    elif kind == DRAINED and inst.state == LEAVING:
        lose_engine(s, i, now)
        start_pending(s, now, 0)


@kernel
def _general_event(s: Sim, kind: int, now: int) -> None:
    event = s.events[0]
    a, b = event.a, event.b
    pop_event(s)
    if kind == DISPATCH:
        deliver(s, a, b, now)
    elif kind == HANDOVER:
        ask_decode(s, b, now)
    elif kind == LANDED:
        landed(s, a, b, now)
    elif kind == COPIED:
        copied(s, a, b, now)
    elif kind == REVEAL:
        arrive(s, b, now)
    elif kind == DEADLINE:
        expire(s, b, now)
    elif kind == PLAN_READY:
        plan_ready(s, now)
        retry_held(s, now)
    elif kind in (PROVISIONED, DETECTED):
        supply_event(s, kind, a, b, now)
    elif kind == LOADED:
        storage_event(s, b, now)
    else:
        _engine_event(s, kind, a, b, now)


@kernel
def _capacity(s: Sim, now: int) -> None:
    totals = s.totals[0]
    seen = 0
    while totals.next_capacity < len(s.capacity) and s.capacity[totals.next_capacity].at == now:
        event = s.capacity[totals.next_capacity]
        totals.next_capacity += 1
        seen += capacity_event(s, event.gpu, event.what, event.leaves_at, now)
    if seen > 0:
        after_capacity(s, now)


@kernel
def _arrival(s: Sim, now: int) -> None:
    totals = s.totals[0]
    r = totals.next_arrival
    totals.next_arrival += 1
    totals.outstanding += 1
    _skip_revealed(s)
    arrive(s, r, now)


@kernel
def _ask_idle(s: Sim, now: int) -> None:
    """Engines that idle before a queue the policy did not admit ask again."""
    for i in range(len(s.instances)):
        inst = s.instances[i]
        if inst.state == ACTIVE and inst.waiting > 0:
            inst.asked = -1
            interrupt(s, i, now)


@kernel
def _handle(s: Sim, kind: int, now: int) -> None:
    totals, limits = s.totals[0], s.settings[0]
    if kind == STEP_END:
        _step_end(s, now)
    elif kind == ARRIVAL:
        _arrival(s, now)
    elif kind == CAPACITY:
        _capacity(s, now)
    elif kind == RETRY:
        totals.next_retry = now + limits.hold_tick
        retry_held(s, now)
    elif kind == REKEY:
        _rekey(s, now)
    elif kind == MIGRATION:
        totals.next_migration = now + limits.migration
        migrate(s, now)
    elif kind == CONTROL:
        totals.next_control = now + limits.control
        if limits.has_evict:
            value_all(s, now)
        if limits.has_prewarm:
            prewarm_tick(s, now)
        control_tick(s, now)
    elif kind == MONITOR:
        totals.next_monitor = now + limits.monitor
        monitor(s, now)
        if limits.has_admit:
            _ask_idle(s, now)
    else:
        _general_event(s, kind, now)


@kernel
def _settle_engines(s: Sim, end: int) -> None:
    """Count what fine-tuning got on engines that are still there at the end."""
    for i in range(len(s.instances)):
        if s.instances[i].state == ACTIVE or s.instances[i].state == LEAVING:
            settle_finetune(s, i, end, busy_at(s, i, end))


@entry
def run(s: Sim, most_events: int, until: int) -> int:
    """Handle up to `most_events` events; 0 when the simulation is over, 1 when there is more.

    It stops before the first monitoring point at or after `until`.
    """
    totals = s.totals[0]
    if totals.next_arrival == 0:
        _skip_revealed(s)
    for _ in range(most_events):
        if not _work_left(s):
            break
        at, kind = _next_event(s)
        if at > s.settings[0].stop:
            break
        if kind == MONITOR and at >= until:
            return 1
        before = totals.now
        totals.now = at
        totals.handled += 1
        _handle(s, kind, at)
        if s.settings[0].debug and totals.broken == 0:
            totals.broken = check(s, before, at)
    else:
        return 1
    end = s.settings[0].stop if _work_left(s) else totals.last_finish
    integrate(s, max(end, totals.integrated))
    count_unfinished(s, totals.integrated)
    _settle_engines(s, max(end, totals.integrated))
    return 0
