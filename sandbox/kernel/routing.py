"""Routers: each has its own stale views of the instances, asks the policy, holds or dispatches.

A router has one view for `route`, the engines that compute prompts, and one for `route_decode`,
the engines that decode. Which of the two a request is shown follows from where its KV is.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.abi import FAILED
from sandbox.contract import DECODE, HOLD, MEMORY_SLOTS, PREFILL, REJECT
from sandbox.kernel.branches import lost_branch
from sandbox.kernel.calls import (
    INVALID_DECISION,
    ROUTE,
    ROUTE_DECODE,
    ask,
    ask_default,
    note_fault,
    spent_ps,
)
from sandbox.kernel.deadlines import drop_queued, is_late, watch_deadline
from sandbox.kernel.engine import enqueue, refuse
from sandbox.kernel.handoff import handoff_s
from sandbox.kernel.heaps import push_event
from sandbox.kernel.hiding import INSTANCE, hide_instances, remembered_tokens
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.landing import kv_tokens
from sandbox.kernel.ledger import note_arrival
from sandbox.kernel.lengths import predict_length
from sandbox.kernel.links import transfer_ps
from sandbox.kernel.prefix import LOOK, match_all, matching_at
from sandbox.kernel.queue_hooks import ask_priority
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
from sandbox.kernel.views import fill_instance, fill_request, seconds, show_own

MOST_RETRIES = 64


@kernel
def _room(s: Sim, i: int) -> int:
    """The longest sequence an instance can hold."""
    inst = s.instances[i]
    return min(inst.blocks_total * BLOCK_TOKENS, s.shapes[inst.shape].limit_tokens)


@kernel
def rebuild_views(s: Sim) -> None:
    """The set of routable instances changed: every router starts new tables."""
    routers = s.settings[0].routers
    n, m = 0, 0
    s.totals[0].least_room = NEVER
    for i in range(len(s.instances)):
        inst = s.instances[i]
        inst.route_row = inst.decode_row = -1
        if inst.state == ACTIVE:
            s.totals[0].least_room = min(s.totals[0].least_room, _room(s, i))
        if inst.state == ACTIVE and inst.role != DECODE:
            s.router_slots[:routers, n] = i
            inst.route_row = n
            n += 1
        if inst.state == ACTIVE and inst.role != PREFILL:
            s.router_slots[routers : 2 * routers, m] = i
            inst.decode_row = m
            m += 1
    s.router_seen[:, :] = -1
    s.router_counts[:routers] = n
    s.router_counts[routers : 2 * routers] = m


@kernel
def _add_sent(s: Sim, k: int, j: int) -> None:
    """What this router sent and has not arrived yet, which the engine cannot know of."""
    row = s.router_rows[k, j]
    sent = s.sent[k % s.settings[0].routers, s.router_slots[k, j]]
    row.queued_requests += sent.requests
    row.queued_prompt_tokens += sent.tokens
    row.predicted_remaining_tokens += sent.predicted


@kernel
def _note_sent(s: Sim, k: int, i: int, r: int, prompt_tokens: int) -> None:
    q, sent = s.requests[r], s.sent[k, i]
    q.sent_tokens = prompt_tokens
    sent.requests += 1
    sent.tokens += q.sent_tokens
    if q.predicted == q.predicted:
        sent.predicted += q.predicted


@kernel
def _note_arrived(s: Sim, k: int, i: int, r: int) -> None:
    q, sent = s.requests[r], s.sent[k, i]
    sent.requests -= 1
    sent.tokens -= q.sent_tokens
    if q.predicted == q.predicted:
        sent.predicted -= q.predicted
    if sent.requests == 0:
        sent.predicted = 0.0  # no rounding stays


@kernel
def _refresh(s: Sim, k: int, now: int) -> None:
    age = s.settings[0].signal_age
    for j in range(s.router_counts[k]):
        if s.router_seen[k, j] < 0 or now - s.router_seen[k, j] >= age:
            fill_instance(s, s.router_slots[k, j], k, j, now)
            _add_sent(s, k, j)
            s.router_seen[k, j] = now


@kernel
def _show_request(s: Sim, k: int, r: int, now: int) -> None:
    """The parts of the view that belong to this request."""
    q = s.requests[r]
    limits = s.settings[0]
    if limits.has_prefixes and not limits.remembers and not q.remote:
        match_all(s, r)
    for j in range(s.router_counts[k]):
        row, i = s.router_rows[k, j], s.router_slots[k, j]
        row.signal_age_s = seconds(now - s.router_seen[k, j])
        show_own(s, i, k, j, r)
        if q.remote:
            row.transfer_s = seconds(transfer_ps(s, q.source, i, kv_tokens(s, r)))
        elif limits.has_prefixes and limits.remembers:
            row.cached_prefix_tokens = remembered_tokens(s, r, row.id)
        elif limits.has_prefixes:
            row.cached_prefix_tokens = s.matched[i]
            if s.matched[i] == LOOK:
                row.cached_prefix_tokens = matching_at(s, i, r, now)


@kernel
def _show_handoff(s: Sim, k: int, r: int, now: int) -> None:
    """What handing over costs from each prefill engine, as this router sees those that decode."""
    decode = k + s.settings[0].routers
    _refresh(s, decode, now)
    for j in range(s.router_counts[k]):
        if s.router_rows[k, j].role == PREFILL:
            s.router_rows[k, j].handoff_s = handoff_s(s, s.router_slots[k, j], decode, r)


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
    spare = 2 * s.settings[0].routers
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
    hides = s.settings[0].hides
    if hides or not _all_fit(s, k, r):
        table, n = 2 * s.settings[0].routers, _copy_fitting(s, k, r)
    if hides:  # the view itself stays whole: it is counted on and refreshed
        hide_instances(s, INSTANCE, table, n)
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
def _count_dispatch(s: Sim, table: int, j: int, r: int, prompt_tokens: int) -> None:
    """The router that sent a request counts it in its own view at once."""
    q, row = s.requests[r], s.router_rows[table, j]
    row.queued_requests += 1
    row.queued_prompt_tokens += prompt_tokens
    if q.predicted == q.predicted:
        row.predicted_remaining_tokens += q.predicted


@kernel
def _dispatch(s: Sim, k: int, table: int, j: int, r: int) -> None:
    """Send the request on its way."""
    q = s.requests[r]
    i = s.router_slots[table, j]
    inst = s.instances[i]
    q.state = DECIDING
    q.hold_since = -1
    prompt = 0
    if not q.remote:
        prompt = q.told_prompt - max(s.router_rows[table, j].cached_prefix_tokens, 0)
    if inst.route_row >= 0:
        _count_dispatch(s, k, inst.route_row, r, prompt)
    if inst.decode_row >= 0:
        _count_dispatch(s, k + s.settings[0].routers, inst.decode_row, r, prompt)
    _note_sent(s, k, i, r, prompt)
    q.instance = i
    q.sent_to = inst.id
    push_event(s, s.router_free[k] + s.shapes[inst.shape].request_overhead, DISPATCH, i, r)


@kernel
def _choose(s: Sim, hook: int, k: int, table: int, r: int, now: int) -> int:
    """The policy's word on a request: row of the table, HOLD or REJECT; the default's if faulty."""
    q = s.requests[r]
    fuel = s.settings[0].route_fuel
    memory = s.router_memory.ctypes.data + k * MEMORY_SLOTS * 8
    overdue = q.hold_since >= 0 and now - q.hold_since >= s.settings[0].class_hold[q.class_id]
    answer = FAILED
    cost = 0
    if not overdue:
        answer = ask(s, hook, fuel, memory)
        cost = spent_ps(s, fuel)
    _charge(s, k, now, cost)
    if answer == HOLD or (answer == REJECT and hook == ROUTE):
        return answer
    j = -1
    if answer != FAILED:
        j = _row_of(s, table, answer)
        if j < 0:
            note_fault(s, hook, INVALID_DECISION)
    if j < 0:
        spare = s.router_memory.ctypes.data + s.settings[0].routers * MEMORY_SLOTS * 8
        j = max(_row_of(s, table, ask_default(s, hook, fuel, spare)), 0)
    return j


@entry
def decide(s: Sim, r: int, now: int) -> int:
    """Ask where a request goes, or where it decodes, and send it, hold it or refuse it."""
    if s.settings[0].has_samples:
        r = lost_branch(s, r, now)
        if r < 0:
            return 0
    q = s.requests[r]
    if is_late(s, r, now):
        refuse(s, r, now)
        return 0
    k = q.order % s.settings[0].routers
    hook, view = ROUTE, k
    if q.remote:
        hook, view = ROUTE_DECODE, k + s.settings[0].routers
    _refresh(s, view, now)
    _show_request(s, view, r, now)
    if s.settings[0].needs_handoff and not q.remote:
        _show_handoff(s, k, r, now)
    table = _present(s, view, r)
    if s.frame[0].n_instances == 0:
        if s.router_counts[view] > 0:
            refuse(s, r, now)
        else:
            _hold(s, r, now)
        return 0
    fill_request(s, r, now)
    j = _choose(s, hook, k, table, r, now)
    if j == HOLD:
        _hold(s, r, now)
    elif j == REJECT:
        refuse(s, r, now)
    else:
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
    _note_arrived(s, q.order % s.settings[0].routers, i, r)
    if inst.state != ACTIVE or inst.id != q.sent_to:
        decide(s, r, now)
        return 0
    if is_late(s, r, now):
        refuse(s, r, now)
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
        refuse(s, r, now)
    elif q.state == QUEUED:
        drop_queued(s, r, now)
    return 0


@entry
def retry_held(s: Sim, now: int) -> int:
    """Ask again about held requests, oldest first, at most MOST_RETRIES."""
    if s.router_counts[0] + s.router_counts[s.settings[0].routers] == 0:
        return 0
    for _ in range(min(s.totals[0].held, MOST_RETRIES)):
        r = s.totals[0].held_head
        _unhold(s, r)
        decide(s, r, now)
    return 0
