"""The migration tick: shows candidates to the policy, carries its moves out, empties what goes.

Candidates are decoding requests that are not moving. Those on engines that drain or will lose
their GPUs come first; when there are more than fit, the others take turns from tick to tick.
A move that names a request or an instance that was not shown is a fault; one that cannot be done
(no seat, no room, its destination leaves or only computes prompts, said twice) is counted apart.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.abi import FAILED
from sandbox.kernel.calls import INVALID_DECISION, MIGRATE, ask, note_fault, spent_ps
from sandbox.kernel.hiding import INSTANCE, hide_instances
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.links import kv_bytes, link_rate
from sandbox.kernel.migration import begin_move, context_tokens, may_move, may_receive
from sandbox.kernel.runs import blocks_at
from sandbox.kernel.state import ACTIVE, LEAVING, NEVER, PS_PER_S, UNUSED, Sim
from sandbox.kernel.views import fill_instance, seconds


@kernel
def _goes(s: Sim, i: int) -> bool:
    inst = s.instances[i]
    return inst.state == LEAVING or (inst.state == ACTIVE and inst.leaves_at != NEVER)


@kernel
def _best_rate(s: Sim, i: int) -> float:
    """Bytes per second to the instance that is nearest; NaN when there is no other."""
    best = 0.0
    for d in range(len(s.instances)):
        if d != i and s.instances[d].state == ACTIVE:
            best = max(best, link_rate(s, i, d))
    return best if best > 0.0 else np.nan


@kernel
def _fill_running(s: Sim, n: int, r: int, rate: float, now: int) -> None:
    """One candidate as the contract's Running."""
    q, v = s.requests[r], s.running[n]
    context = context_tokens(s, r, now)
    v.request = r
    v.instance = s.instances[q.instance].id
    v.class_id = q.class_id
    v.online = q.online
    v.decoding = True
    v.prompt_tokens = q.prompt
    v.done_tokens = context - q.prompt
    v.context_tokens = context
    v.predicted_remaining_tokens = q.predicted
    if q.predicted == q.predicted:
        v.predicted_remaining_tokens = max(q.predicted - v.done_tokens, 0.0)
    v.age_s = seconds(now - q.entered)
    v.kv_bytes = kv_bytes(s, q.instance, context)
    v.transfer_s = s.settings[0].link_latency / PS_PER_S + v.kv_bytes / rate
    v.moved_count = q.moved


@kernel
def _show_batch(s: Sim, i: int, n: int, skip: int, now: int) -> int:
    """Show the candidates of one instance after the first `skip`; rows filled in all."""
    rate = _best_rate(s, i)
    r = s.instances[i].run_head
    while r >= 0 and n < len(s.running):
        if skip > 0:
            skip -= 1
        elif may_move(s, r):
            _fill_running(s, n, r, rate, now)
            n += 1
        r = s.requests[r].list_next
    return n


@kernel
def _show_staying(s: Sim, n: int, now: int) -> int:
    """Candidates on engines that stay: all, or the next ones in turn; rows filled in all."""
    totals = s.totals[0]
    total = 0
    for i in range(len(s.instances)):
        if s.instances[i].state == ACTIVE and not _goes(s, i):
            total += s.instances[i].running
    turn = total > len(s.running) - n
    skip = totals.shown_from % total if turn else 0
    if turn:
        totals.shown_from = skip + len(s.running) - n
    for lap in range(2):
        for i in range(len(s.instances)):
            inst = s.instances[i]
            if inst.state != ACTIVE or _goes(s, i):
                continue
            if skip >= inst.running:
                skip -= inst.running
            else:
                n = _show_batch(s, i, n, skip, now)
                skip = 0
        if not turn or lap == 1 or n == len(s.running):
            break
    return n


@kernel
def _show(s: Sim, now: int) -> None:
    """Point the frame at the candidates, all engines as they are, and an empty list of moves."""
    frame, table, n = s.frame[0], 2 * s.settings[0].routers + 1, 0
    for i in range(len(s.instances)):
        if _goes(s, i):
            n = _show_batch(s, i, n, 0, now)
    n = _show_staying(s, n, now)
    frame.running, frame.n_running = s.running.ctypes.data, n
    rows = 0
    for i in range(len(s.instances)):
        if s.instances[i].state != UNUSED:
            fill_instance(s, i, table, rows, now)
            rows += 1
    if s.settings[0].hides:
        hide_instances(s, INSTANCE, table, rows)
    frame.instances, frame.n_instances = s.router_rows[table].ctypes.data, rows
    frame.rotation = 0
    s.moves[0].n_rows = 0
    frame.moves = s.moves.ctypes.data


@kernel
def _shown(s: Sim, r: int) -> bool:
    for n in range(s.frame[0].n_running):
        if s.running[n].request == r:
            return True
    return False


@kernel
def _instance_of(s: Sim, instance_id: int) -> int:
    for i in range(len(s.instances)):
        if s.instances[i].state != UNUSED and s.instances[i].id == instance_id:
            return i
    return -1


@kernel
def _ask_policy(s: Sim, now: int) -> None:
    totals = s.totals[0]
    _show(s, now)
    if s.frame[0].n_running == 0:
        return
    fuel = s.settings[0].plan_fuel
    failed = ask(s, MIGRATE, fuel, s.planner_memory.ctypes.data) == FAILED
    cost = spent_ps(s, fuel)
    totals.planning_ps += cost
    for n in range(0 if failed else s.moves[0].n_rows):
        move = s.moves[0].rows[n]
        d = _instance_of(s, move.instance)
        if d < 0 or not _shown(s, move.request):
            note_fault(s, MIGRATE, INVALID_DECISION)
        elif not begin_move(s, move.request, d, now, now + cost):
            totals.moves_refused += 1


@kernel
def _emptiest(s: Sim, i: int, now: int) -> int:
    """The instance with most free KV that stays and has a seat; -1 when there is none."""
    best, most = -1, 0
    for d in range(len(s.instances)):
        if d == i or not may_receive(s, d):
            continue
        free = s.instances[d].blocks_total - blocks_at(s, d, now)
        if free > most:
            best, most = d, free
    return best


@kernel
def evacuate(s: Sim, now: int) -> None:
    """Move what decodes on engines that go to where most KV is free, oldest in the batch first."""
    for i in range(len(s.instances)):
        if not _goes(s, i):
            continue
        r = s.instances[i].run_head
        while r >= 0:
            if may_move(s, r):
                d = _emptiest(s, i, now)
                if d >= 0:
                    begin_move(s, r, d, now, now)
            r = s.requests[r].list_next


@entry
def migrate(s: Sim, now: int) -> int:
    """A migration tick."""
    if s.settings[0].has_migrate:
        _ask_policy(s, now)
    if s.settings[0].move_running:
        evacuate(s, now)
    return 0
