"""What the planner is shown: the window since the last monitoring point, the hardware, the plan."""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.kernel.elastic import expected_start, show_supply
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.runs import blocks_at
from sandbox.kernel.state import (
    ACTIVE,
    IDLE,
    LEAVING,
    PS_PER_S,
    STARTING,
    UNUSED,
    Sim,
)
from sandbox.kernel.views import seconds
from sandbox.summary_forecast import OUTPUT_TOKENS, PROMPT_TOKENS
from sandbox.summary_window import clear_pressure, close_pressure, fill_class, see_pressure

BATCH_OF_ESTIMATE = 256  # decode batch that a shape's sustained rate is estimated at, at most


@kernel
def _fill_class(s: Sim, c: int) -> None:
    w = s.window[0]
    v, sums, closed = w.classes[c], s.sums[c], s.closed[c]
    v.class_id = c
    v.queued_requests = s.class_stats[c].queued
    fill_class(v, sums, closed, s.outlook[c], w.now_s, w.span_s)
    for k in range(len(sums)):
        closed[k] = sums[k]


@kernel
def _fill_pressure(s: Sim, now: int) -> None:
    w, totals = s.window[0], s.totals[0]
    engines, busy, queued = 0, 0, 0
    clear_pressure(w)
    for i in range(len(s.instances)):
        inst = s.instances[i]
        if inst.state != ACTIVE and inst.state != LEAVING:
            continue
        engines += see_pressure(w, blocks_at(s, i, now) / max(inst.blocks_total, 1))
        busy += inst.busy
        if inst.mode != IDLE:
            busy += now - inst.started
        queued += inst.waiting
    close_pressure(w, engines)
    span = now - totals.last_monitor
    w.busy = np.nan
    if engines > 0 and span > 0:
        w.busy = (busy - totals.busy_at_monitor) / (span * engines)
    totals.busy_at_monitor = busy
    w.classes[0].queued_requests = queued + totals.held


@entry
def fill_window(s: Sim, now: int) -> int:
    """The contract's Window since the last monitoring point."""
    totals, w = s.totals[0], s.window[0]
    w.now_s = seconds(now)
    w.span_s = w.now_s - seconds(totals.last_monitor)
    w.n_classes = len(s.class_stats)
    for c in range(len(s.class_stats)):
        _fill_class(s, c)
    _fill_pressure(s, now)
    fill_situation(s, now)
    totals.last_monitor = now
    return 0


@kernel
def fill_situation(s: Sim, now: int) -> None:
    """The part of the window that a capacity event changes between monitoring points."""
    totals, w = s.totals[0], s.window[0]
    w.now_s = seconds(now)
    w.since_plan_s = w.now_s - seconds(totals.last_plan)
    w.since_capacity_change_s = w.now_s - seconds(totals.last_capacity)
    w.capacity_changed = totals.capacity_changed
    w.plan_feasible = totals.feasible
    w.scheduling_s = seconds(totals.planning_ps)
    present = max(totals.gpus_present, 1)
    w.reconfiguration_s = totals.loading_ps / PS_PER_S / present
    w.serving_s = w.now_s - w.reconfiguration_s
    w.rate_at_plan_rps = totals.rate_at_plan
    w.last_switch_s = np.nan if totals.last_switch < 0 else seconds(totals.last_switch)


@kernel
def _shape_rate(s: Sim, k: int, prompt: float, output: float) -> float:
    """Requests per second one replica sustains: prefill time plus its share of decode steps.

    The batch is what the KV cache holds of such requests, half done on average.
    """
    shape = s.shapes[k]
    context = prompt + 0.5 * output
    most = min(shape.kv_tokens / context, min(s.settings[0].max_seqs, BATCH_OF_ESTIMATE))
    batch = max(int(most), 1)
    step = s.step_batch[k, batch] + s.step_context[k, batch] * batch * context
    step_s = (shape.step_overhead + step) / PS_PER_S
    return 1.0 / (prompt / shape.prefill_rate + output * step_s / batch)


@kernel
def _fill_class_rates(s: Sim, k: int) -> None:
    """The same rate for the traffic of each class alone; NaN for a class without traffic."""
    v = s.cluster[0].shapes[k]
    for c in range(len(v.class_rate_rps)):
        v.class_rate_rps[c] = np.nan
    for c in range(len(s.class_stats)):
        prompt, output = s.outlook[c, PROMPT_TOKENS], s.outlook[c, OUTPUT_TOKENS]
        if prompt > 0.0 and output > 0.0:
            v.class_rate_rps[c] = _shape_rate(s, k, prompt, output)


@kernel
def _fill_shape(s: Sim, k: int, prompt: float, output: float) -> None:
    shape, v = s.shapes[k], s.cluster[0].shapes[k]
    pool = s.pools[shape.pool]
    v.pool = shape.pool
    v.tp = shape.tp
    v.pp = shape.pp
    v.gpus = shape.gpus
    v.fits_now = (pool.present - pool.leaving) // shape.gpus
    v.kv_capacity_tokens = shape.kv_tokens
    v.prefill_tokens_per_s = shape.prefill_rate
    v.rate_rps = _shape_rate(s, k, prompt, output)
    alone = (
        shape.decode_base
        + shape.decode_per_seq
        + seconds(s.step_context[k, 1]) * (prompt + 0.5 * output)
    )
    v.latency_s = prompt / shape.prefill_rate + output * alone
    v.start_s = seconds(expected_start(s, k))
    _fill_class_rates(s, k)


@entry
def fill_cluster(s: Sim, now: int) -> int:
    """The contract's Cluster: pools, and what each shape would do with the present traffic."""
    v, totals = s.cluster[0], s.totals[0]
    prompt, output = s.outlook[0, PROMPT_TOKENS], s.outlook[0, OUTPUT_TOKENS]
    if np.isnan(prompt):
        prompt = s.settings[0].nominal_prompt
    if np.isnan(output):
        output = s.settings[0].nominal_output
    v.n_pools = len(s.pools)
    v.gpus_present = 0
    v.gpus_free = 0
    v.price_usd_per_hour = 0.0
    for p in range(len(s.pools)):
        pool, row = s.pools[p], v.pools[p]
        row.present = pool.present
        row.free = pool.free
        row.in_use = pool.present - pool.free
        row.leaving = pool.leaving
        row.grace_s = np.nan if pool.leaving == 0 else seconds(max(pool.leave_at - now, 0))
        v.gpus_present += pool.present
        v.gpus_free += pool.free
        v.price_usd_per_hour += pool.price * row.in_use
    show_supply(s, now)
    v.n_shapes = len(s.shapes)
    for k in range(len(s.shapes)):
        _fill_shape(s, k, prompt, output)
    totals.capacity_changed = False
    return 0


@entry
def fill_plan(s: Sim, now: int) -> int:
    """Bring the state of the plan's replicas up to date in its record."""
    v, totals = s.plan[0], s.totals[0]
    span = max(seconds(now - totals.last_monitor), 1e-9)
    v.age_s = seconds(now - totals.last_plan)
    v.reconfigurations = totals.reconfigurations
    v.keep = False
    for j in range(v.n_replicas):
        row = v.replicas[j]
        row.instance = -1
        row.ready = False
        row.queued_requests = 0
        row.running_requests = 0
        row.kv_used = 0.0
        row.rate_rps = 0.0
    for i in range(len(s.instances)):
        inst = s.instances[i]
        if inst.state == UNUSED or inst.replica < 0 or inst.state == LEAVING:
            continue
        row = v.replicas[inst.replica]
        row.instance = inst.id
        row.ready = inst.state != STARTING
        row.queued_requests = inst.waiting
        row.running_requests = inst.running
        row.kv_used = blocks_at(s, i, now) / max(inst.blocks_total, 1)
        row.rate_rps = inst.finished_tick / span
    return 0


@kernel
def clear_tick(s: Sim) -> None:
    """Counters of the instances that run from one monitoring point to the next."""
    for i in range(len(s.instances)):
        s.instances[i].finished_tick = 0
        s.instances[i].preemptions = 0
