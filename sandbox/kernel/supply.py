"""GPUs that come and go: announced losses, failures that nobody announced, arrivals.

A failure without notice stops the engine at once, but nobody knows: routers go on sending to it,
its requests are stuck, its GPUs count as present. `switch.detect_s` later, or when the GPU comes
back before that, it is detected and becomes a loss like any other: queue and batch are routed anew,
their KV is computed again. Policies are asked about what is known, so not at the failure itself.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.elastic import adjust_supply, arrives, cancel_order
from sandbox.kernel.hardware import break_engine, gpu_present
from sandbox.kernel.heaps import pop_event, push_event
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.observe import fill_situation
from sandbox.kernel.plans import consider, lose_engine, plan_feasible, settle, start_pending
from sandbox.kernel.state import (
    ANNOUNCE,
    DETECTED,
    DOWN,
    FAIL,
    NEVER,
    STARTING,
    UNUSED,
    UP,
    Sim,
)


@kernel
def _announce(s: Sim, g: int, leaves_at: int) -> None:
    gpu = s.gpus[g]
    pool = s.pools[gpu.pool]
    if gpu.present and gpu.leave_at == NEVER:
        gpu.leave_at = leaves_at
        pool.leave_at = gpu.leave_at
        pool.leaving += 1
        if gpu.instance >= 0:
            s.instances[gpu.instance].leaves_at = gpu.leave_at


@kernel
def _take_away(s: Sim, g: int, now: int) -> None:
    i = s.gpus[g].instance
    if i >= 0 and s.instances[i].state != UNUSED:
        lose_engine(s, i, now)
    gpu_present(s, g, False, now)
    _note_change(s, g, now)


@kernel
def _note_change(s: Sim, g: int, now: int) -> None:
    totals = s.totals[0]
    s.pools[s.gpus[g].pool].changed = True
    totals.capacity_changed = True
    totals.last_capacity = now
    totals.feasible = plan_feasible(s)


@kernel
def _fail(s: Sim, g: int, now: int) -> None:
    gpu = s.gpus[g]
    if not gpu.present or gpu.failed:
        return
    gpu.failed = True
    gpu.ticket += 1
    s.totals[0].failures += 1
    i = gpu.instance
    if i >= 0 and not s.instances[i].stuck:
        if s.instances[i].state != STARTING:
            settle(s, i, now)
        break_engine(s, i, now)
    push_event(s, now + s.settings[0].detect, DETECTED, g, gpu.ticket)


@entry
def capacity_event(s: Sim, g: int, what: int, leaves_at: int, now: int) -> int:
    """A GPU is announced to go, goes, fails, or comes; 1 when there is something to be seen."""
    gpu = s.gpus[g]
    elastic = s.pools[gpu.pool].elastic
    gpu.offered = what == UP
    if what != UP:
        cancel_order(s, g)
    if what == FAIL:
        _fail(s, g, now)
        return 0
    if elastic and not gpu.present:
        adjust_supply(s, now)
        return 0
    if what == ANNOUNCE:
        _announce(s, g, leaves_at)
        _note_change(s, g, now)
    elif what == DOWN:
        _take_away(s, g, now)
    else:
        if gpu.failed:
            _take_away(s, g, now)
        if not elastic:
            gpu_present(s, g, True, now)
        _note_change(s, g, now)
    return 1


@entry
def after_capacity(s: Sim, now: int) -> int:
    """All capacity events of this instant are in: restart what fits, and ask the policy."""
    adjust_supply(s, now)
    start_pending(s, now, 0)
    fill_situation(s, now)
    consider(s, now)
    return 0


@entry
def supply_event(s: Sim, kind: int, g: int, ticket: int, now: int) -> int:
    """A failure is detected, or a GPU that was ordered arrives, with all others of this instant."""
    seen = False
    while True:
        if kind != DETECTED:
            if arrives(s, g, ticket, now):
                _note_change(s, g, now)
                seen = True
        elif s.gpus[g].failed and s.gpus[g].ticket == ticket:
            _take_away(s, g, now)
            seen = True
        event = s.events[0]
        if s.totals[0].events == 0 or event.at != now or event.kind != kind:
            break
        g, ticket = event.a, event.b
        pop_event(s)
    if seen:
        after_capacity(s, now)
    return 0
