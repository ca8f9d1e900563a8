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
    HISTOGRAM_BINS,
    IDLE,
    LEAVING,
    PS_PER_S,
    STARTING,
    UNUSED,
    Sim,
)
from sandbox.kernel.views import seconds

FORECAST_WEIGHT = 0.3  # of the newest window in the exponential smoothing
BATCH_OF_ESTIMATE = 256  # decode batch that a shape's sustained rate is estimated at, at most


@kernel
def _p95(s: Sim, c: int, outputs: bool, total: int) -> float:
    """Upper edge of the bin that holds the 95th percentile; NaN without data."""
    if total == 0:
        return np.nan
    row = s.class_stats[c]
    seen = 0
    for k in range(HISTOGRAM_BINS):
        seen += row.output_bins[k] if outputs else row.prompt_bins[k]
        if seen >= 0.95 * total:
            return 2.0 ** ((k + 1) / 8.0)
    return np.nan


@kernel
def _mean(total: float, count: int) -> float:
    return total / count if count > 0 else np.nan


@kernel
def _forecast(s: Sim, c: int, rate: float) -> None:
    row = s.class_stats[c]
    if np.isnan(row.forecast):
        row.forecast = rate
        return
    error = abs(rate - row.forecast) / max(row.forecast, 1e-9)
    if np.isnan(row.forecast_error):
        row.forecast_error = error
    row.forecast_error += FORECAST_WEIGHT * (error - row.forecast_error)
    row.forecast += FORECAST_WEIGHT * (rate - row.forecast)


@kernel
def _smooth(old: float, new: float) -> float:
    if np.isnan(new):
        return old
    if np.isnan(old):
        return new
    return old + FORECAST_WEIGHT * (new - old)


@kernel
def _fill_class(s: Sim, c: int, span_s: float) -> None:
    row, v = s.class_stats[c], s.window[0].classes[c]
    rate = row.arrived / span_s if span_s > 0.0 else np.nan
    if span_s > 0.0:
        _forecast(s, c, rate)
    row.prompt_ewma = _smooth(row.prompt_ewma, _mean(row.prompt_sum, row.arrived))
    row.output_ewma = _smooth(row.output_ewma, _mean(row.output_sum, row.finished))
    v.class_id = c
    v.requests = row.arrived
    v.rate_rps = rate
    v.forecast_rps = row.forecast
    v.forecast_error = row.forecast_error
    gap = _mean(row.gap_sum, row.gaps)
    spread = _mean(row.gap_square, row.gaps) - gap * gap
    v.burstiness = np.sqrt(max(spread, 0.0)) / gap if row.gaps > 1 and gap > 0.0 else np.nan
    v.prompt_mean_tokens = _mean(row.prompt_sum, row.arrived)
    v.prompt_p95_tokens = _p95(s, c, False, row.arrived)
    v.output_mean_tokens = _mean(row.output_sum, row.finished)
    v.output_p95_tokens = _p95(s, c, True, row.finished)
    v.reuse = row.cached_sum / row.prompt_sum if row.prompt_sum > 0.0 else np.nan
    v.ttft_mean_s = _mean(row.ttft_sum, row.finished)
    v.tpot_mean_s = _mean(row.tpot_sum, row.finished)
    v.e2e_mean_s = _mean(row.e2e_sum, row.finished)
    v.queue_mean_s = _mean(row.queue_sum, row.begun)
    v.slo_attainment = _mean(float(row.attained), row.finished)
    v.rejected = row.rejected
    v.preemptions = row.preempted
    v.queued_requests = row.queued


@kernel
def _clear_class(s: Sim, c: int) -> None:
    row = s.class_stats[c]
    row.arrived = 0
    row.gaps = 0
    row.gap_sum = 0.0
    row.gap_square = 0.0
    row.prompt_sum = 0.0
    row.finished = 0
    row.output_sum = 0.0
    row.begun = 0
    row.queue_sum = 0.0
    row.ttft_sum = 0.0
    row.tpot_sum = 0.0
    row.e2e_sum = 0.0
    row.attained = 0
    row.rejected = 0
    row.preempted = 0
    row.cached_sum = 0.0
    row.prompt_bins[:] = 0
    row.output_bins[:] = 0


@kernel
def _fill_pressure(s: Sim, now: int) -> None:
    w, totals = s.window[0], s.totals[0]
    most, total, engines, busy, queued = 0.0, 0.0, 0, 0, 0
    for i in range(len(s.instances)):
        inst = s.instances[i]
        if inst.state != ACTIVE and inst.state != LEAVING:
            continue
        pressure = blocks_at(s, i, now) / max(inst.blocks_total, 1)
        most = max(most, pressure)
        total += pressure
        engines += 1
        busy += inst.busy
        if inst.mode != IDLE:
            busy += now - inst.started
        queued += inst.waiting
    w.kv_pressure = _mean(total, engines)
    w.kv_pressure_max = most
    span = now - totals.last_monitor
    w.busy = np.nan
    if engines > 0 and span > 0:
        w.busy = (busy - totals.busy_at_monitor) / (span * engines)
    totals.busy_at_monitor = busy
    w.classes[0].queued_requests = queued + totals.held


@entry
def fill_window(s: Sim, now: int) -> int:
    """The contract's Window since the last monitoring point; the counters start anew."""
    totals, w = s.totals[0], s.window[0]
    span = seconds(now - totals.last_monitor)
    w.now_s = seconds(now)
    w.span_s = span
    w.n_classes = len(s.class_stats)
    for c in range(len(s.class_stats)):
        _fill_class(s, c, span)
        _clear_class(s, c)
    _fill_pressure(s, now)
    fill_situation(s, now)
    totals.last_monitor = now
    return 0


@kernel
def fill_situation(s: Sim, now: int) -> None:
    """The part of the window that a capacity event changes between monitoring points."""
    totals, w = s.totals[0], s.window[0]
    w.now_s = seconds(now)
    w.since_plan_s = seconds(now - totals.last_plan)
    w.since_capacity_change_s = seconds(now - totals.last_capacity)
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
        row = s.class_stats[c]
        if row.prompt_ewma > 0.0 and row.output_ewma > 0.0:
            v.class_rate_rps[c] = _shape_rate(s, k, row.prompt_ewma, row.output_ewma)


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
    prompt, output = s.class_stats[0].prompt_ewma, s.class_stats[0].output_ewma
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
