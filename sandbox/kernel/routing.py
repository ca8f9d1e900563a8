"""Routers: each has its own stale view of the instances, asks the policy, holds or dispatches."""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.abi import FAILED
from sandbox.contract import DECODE, HOLD, MEMORY_SLOTS, REJECT
from sandbox.kernel.calls import (
    INVALID_DECISION,
    ROUTE,
    ask,
    ask_default,
    ask_priority,
    note_fault,
    spent_ps,
)
from sandbox.kernel.deadlines import drop_queued, is_late, watch_deadline
from sandbox.kernel.engine import enqueue
from sandbox.kernel.heaps import push_event
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.ledger import note_arrival, reject_request
from sandbox.kernel.lengths import predict_length
from sandbox.kernel.prefix import matching_at
from sandbox.kernel.state import (
    ACTIVE,
    BLOCK_TOKENS,
    DECIDING,
    DISPATCH,
    HELD,
    NEVER,
    QUEUED,
    Sim,
)
from sandbox.kernel.views import fill_instance, fill_request, seconds

MOST_RETRIES = 64


@kernel
def _room(s: Sim, i: int) -> int:
    """The longest sequence an instance can hold."""
    inst = s.instances[i]
    return min(inst.blocks_total * BLOCK_TOKENS, s.shapes[inst.shape].limit_tokens)


@kernel
def rebuild_views(s: Sim) -> None:
    """The set of routable instances changed: every router starts a new table."""
    s.totals[0].least_room = NEVER
    for i in range(len(s.instances)):
        if s.instances[i].state == ACTIVE:
            s.totals[0].least_room = min(s.totals[0].least_room, _room(s, i))
    for k in range(s.settings[0].routers):
        n = 0
        for i in range(len(s.instances)):
            inst = s.instances[i]
            if inst.state == ACTIVE and inst.role != DECODE:
                s.router_slots[k, n] = i
                s.router_seen[k, n] = -1
                n += 1
        s.router_counts[k] = n


@kernel
def _refresh(s: Sim, k: int, now: int) -> None:
    age = s.settings[0].signal_age
    for j in range(s.router_counts[k]):
        if s.router_seen[k, j] < 0 or now - s.router_seen[k, j] >= age:
            fill_instance(s, s.router_slots[k, j], k, j, now)
            s.router_seen[k, j] = now


@kernel
def _show_request(s: Sim, k: int, r: int, now: int) -> None:
    """The parts of the view that belong to this request."""
    q = s.requests[r]
    for j in range(s.router_counts[k]):
        row, i = s.router_rows[k, j], s.router_slots[k, j]
        row.signal_age_s = seconds(now - s.router_seen[k, j])
        row.tenant_requests = s.tenant_load[i, q.tenant]
        if s.settings[0].has_prefixes:
            row.cached_prefix_tokens = matching_at(s, i, r, now) * s.settings[0].block_tokens


@kernel
def _fits(s: Sim, i: int, r: int) -> bool:
    return s.requests[r].prompt < _room(s, i)


@kernel
def _all_fit(s: Sim, k: int, r: int) -> bool:
    if s.requests[r].prompt < s.totals[0].least_room:
        return True
    for j in range(s.router_counts[k]):
        if not _fits(s, s.router_slots[k, j], r):
            return False
    return True


@kernel
def _copy_fitting(s: Sim, k: int, r: int) -> int:
    """Rows that could hold the prompt, copied behind the routers' own; how many."""
    spare = s.settings[0].routers
    n = 0
    for j in range(s.router_counts[k]):
        if _fits(s, s.router_slots[k, j], r):
            s.router_rows[spare, n] = s.router_rows[k, j]
            s.router_slots[spare, n] = s.router_slots[k, j]
            n += 1
    return n


@kernel
def _present(s: Sim, k: int, r: int) -> int:
    """Point the frame at the rows the policy may choose from; the table they are in."""
    table = k
    n = s.router_counts[k]
    if not _all_fit(s, k, r):
        table, n = s.settings[0].routers, _copy_fitting(s, k, r)
    frame = s.frame[0]
    frame.instances = s.router_rows[table].ctypes.data
    frame.n_instances = n
    frame.rotation = (s.requests[r].order + k) % max(n, 1)
    return table


@kernel
def _row_of(s: Sim, table: int, instance_id: int) -> int:
    for j in range(s.frame[0].n_instances):
        if s.router_rows[table, j].id == instance_id:
            return j
    return -1


@kernel
def _hold(s: Sim, r: int, now: int) -> None:
    totals, q = s.totals[0], s.requests[r]
    if q.hold_since < 0:
        q.hold_since = now
    if totals.held == 0:
        totals.next_retry = now + s.settings[0].hold_tick
    q.state = HELD
    q.held += 1
    q.list_next = -1
    q.list_prev = totals.held_tail
    if totals.held_tail >= 0:
        s.requests[totals.held_tail].list_next = r
    else:
        totals.held_head = r
    totals.held_tail = r
    totals.held += 1
    s.class_stats[q.class_id].queued += 1


@kernel
def _unhold(s: Sim, r: int) -> None:
    totals, q = s.totals[0], s.requests[r]
    if q.list_prev >= 0:
        s.requests[q.list_prev].list_next = q.list_next
    else:
        totals.held_head = q.list_next
    if q.list_next >= 0:
        s.requests[q.list_next].list_prev = q.list_prev
    else:
        totals.held_tail = q.list_prev
    totals.held -= 1
    s.class_stats[q.class_id].queued -= 1


@kernel
def _charge(s: Sim, k: int, now: int, cost: int) -> None:
    """The router is busy with one decision after another, whatever they are."""
    s.router_free[k] = max(now, s.router_free[k]) + cost
    s.totals[0].deciding_ps += cost


@kernel
def _dispatch(s: Sim, k: int, table: int, j: int, r: int) -> None:
    """Send the request on its way; the router itself counts it at once."""
    q = s.requests[r]
    i = s.router_slots[table, j]
    q.state = DECIDING
    q.hold_since = -1
    row = s.router_rows[table, j]
    cached = row.cached_prefix_tokens
    for x in range(s.router_counts[k]):
        if s.router_slots[k, x] == i:
            row = s.router_rows[k, x]
    row.queued_requests += 1
    row.queued_prompt_tokens += q.prompt - cached
    if q.predicted == q.predicted:
        row.predicted_remaining_tokens += q.predicted
    overhead = s.shapes[s.instances[i].shape].request_overhead
    q.instance = i
    q.sent_to = s.instances[i].id
    push_event(s, s.router_free[k] + overhead, DISPATCH, i, r)


@entry
def decide(s: Sim, r: int, now: int) -> int:
    """Ask where a request goes, and send it, hold it or refuse it."""
    q = s.requests[r]
    if is_late(s, r, now):
        reject_request(s, r, now)
        return 0
    k = q.order % s.settings[0].routers
    _refresh(s, k, now)
    _show_request(s, k, r, now)
    table = _present(s, k, r)
    if s.frame[0].n_instances == 0:
        if s.router_counts[k] > 0:
            reject_request(s, r, now)
        else:
            _hold(s, r, now)
        return 0
    fill_request(s, r, now)
    fuel = s.settings[0].route_fuel
    memory = s.router_memory.ctypes.data + k * MEMORY_SLOTS * 8
    overdue = q.hold_since >= 0 and now - q.hold_since >= s.settings[0].class_hold[q.class_id]
    answer = FAILED
    cost = 0
    if not overdue:
        answer = ask(s, ROUTE, fuel, memory)
        cost = spent_ps(s, fuel)
    _charge(s, k, now, cost)
    if answer == HOLD:
        _hold(s, r, now)
        return 0
    if answer == REJECT:
        reject_request(s, r, now)
        return 0
    j = -1
    if answer != FAILED:
        j = _row_of(s, table, answer)
        if j < 0:
            note_fault(s, ROUTE, INVALID_DECISION)
    if j < 0:
        spare = s.router_memory.ctypes.data + s.settings[0].routers * MEMORY_SLOTS * 8
        j = max(_row_of(s, table, ask_default(s, ROUTE, fuel, spare)), 0)
    _dispatch(s, k, table, j, r)
    return 0


@kernel
def arrive(s: Sim, r: int, now: int) -> None:
    """A request enters the system."""
    q = s.requests[r]
    q.entered = now
    if q.after < 0:
        q.workflow_start = now
    note_arrival(s, r, now)
    predict_length(s, r)
    watch_deadline(s, r, now)
    decide(s, r, now)


@entry
def deliver(s: Sim, i: int, r: int, now: int) -> int:
    """A dispatched request reaches its engine, or must be routed anew if that is gone."""
    inst, q = s.instances[i], s.requests[r]
    if inst.state != ACTIVE or inst.id != q.sent_to:
        decide(s, r, now)
        return 0
    if is_late(s, r, now):
        reject_request(s, r, now)
        return 0
    q.queued_at = now
    q.priority = ask_priority(s, i, r, now)
    enqueue(s, i, r, now)
    return 0


@entry
def expire(s: Sim, r: int, now: int) -> int:
    """The deadline of a request is here: reject it if it waits and has never run."""
    q = s.requests[r]
    if not is_late(s, r, now):
        return 0
    if q.state == HELD:
        _unhold(s, r)
        reject_request(s, r, now)
    elif q.state == QUEUED:
        drop_queued(s, r, now)
    return 0


@entry
def retry_held(s: Sim, now: int) -> int:
    """Ask again about held requests, oldest first, at most MOST_RETRIES."""
    if s.router_counts[0] == 0:
        return 0
    for _ in range(min(s.totals[0].held, MOST_RETRIES)):
        r = s.totals[0].held_head
        _unhold(s, r)
        decide(s, r, now)
    return 0
