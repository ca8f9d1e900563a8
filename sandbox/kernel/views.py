"""Fills the contract's records from the simulator's state: what a policy sees, never the future."""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.kernel.hiding import ENGINE, hide_instances, hide_request
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.runs import blocks_at, steps_done
from sandbox.kernel.state import (
    BLOCK_TOKENS,
    LEAVING,
    NEVER,
    PS_PER_S,
    RUN,
    STARTING,
    Sim,
)
from sandbox.kernel.workflows import show_workflow


@kernel
def seconds(ps: int) -> float:
    """Picoseconds as seconds."""
    return ps / PS_PER_S


@kernel
def fill_request(s: Sim, r: int, now: int) -> None:
    """One REQUEST row as the contract's Request, into `request_row`."""
    q, v, limits = s.requests[r], s.request_row[0], s.settings[0]
    done = q.done
    if q.decoding:
        done += s.instances[q.instance].count - q.enter_count
    v.now_s = seconds(now)
    v.age_s = seconds(now - q.entered)
    v.seed = q.seed
    v.prompt_tokens = q.told_prompt
    v.predicted_output_tokens = q.predicted
    v.predicted_output_error = q.predicted_error
    v.done_tokens = done
    v.class_id = q.class_id
    v.tenant = q.tenant
    v.weight = q.weight
    v.online = q.online
    v.ttft_slo_s = limits.ttft_slo[q.class_id]
    v.tpot_slo_s = limits.tpot_slo[q.class_id]
    v.e2e_slo_s = limits.e2e_slo[q.class_id]
    v.deadline_s = limits.class_deadline[q.class_id] - v.age_s
    v.session = q.session
    v.turn = q.turn
    v.last_instance = q.last_instance
    v.prefix_key = -1
    if q.path_count > 0:
        v.prefix_key = s.paths[q.path_start]
    show_workflow(s, r, now)
    v.branch = 0
    v.branch_count = 1
    if limits.has_samples:
        v.branch = s.samples[r].branch
        v.branch_count = s.samples[r].asked
    v.held_count = q.held
    v.preempted_count = q.preempted
    v.keyed_count = q.keyed
    v.moved_count = q.moved
    if limits.hides:
        hide_request(s)


@kernel
def _longest_context(s: Sim, i: int, steps: int) -> int:
    """Of the batch, `steps` into its present run."""
    inst = s.instances[i]
    longest = 0
    r = inst.run_head
    while r >= 0:
        q = s.requests[r]
        context = q.computed
        if q.decoding:
            context = q.prompt + q.done + inst.count - q.enter_count + steps
        longest = max(longest, context)
        r = q.list_next
    return longest


@kernel
def _tightest_tpot(s: Sim, i: int) -> float:
    """Of the classes with online requests in the batch; NaN without any."""
    tightest = np.inf
    for c in range(len(s.class_stats)):
        if s.instances[i].class_running[c] > 0:
            tightest = min(tightest, s.settings[0].tpot_slo[c])
    return tightest if tightest < np.inf else np.nan


@kernel
def _fill_identity(s: Sim, i: int, table: int, j: int) -> None:
    inst, shape = s.instances[i], s.shapes[s.instances[i].shape]
    v = s.router_rows[table, j]
    v.id = inst.id
    v.role = inst.role
    v.pool = inst.pool
    v.tp = inst.tp
    v.pp = inst.pp
    v.node = inst.node
    v.zone = inst.zone
    v.length_low_tokens = inst.length_low
    v.length_high_tokens = inst.length_high
    v.share = inst.share
    v.kv_capacity_tokens = inst.blocks_total * BLOCK_TOKENS
    v.max_num_seqs = inst.max_seqs
    v.token_budget = inst.token_budget
    v.prefill_tokens_per_s = shape.prefill_rate * (1.0 - inst.finetune)
    stretched = 1.0 / (1.0 - inst.finetune)
    v.step_base_s = shape.decode_base * stretched
    v.step_per_seq_s = shape.decode_per_seq * stretched
    if inst.depth > 0:
        row = inst.shape * s.settings[0].max_depth + inst.depth - 1
        v.step_base_s = s.spec_line[row, 0] * stretched
        v.step_per_seq_s = s.spec_line[row, 1] * stretched
    v.draining = inst.state == LEAVING
    v.starting = inst.state == STARTING
    v.speculation_depth = inst.depth
    v.acceptance = s.settings[0].acceptance if inst.depth > 0 else np.nan
    v.offline_share = inst.offline_share
    v.finetune_share = inst.finetune
    v.knob_token_budget = inst.knob_token_budget
    v.knob_speculation = inst.knob_speculation
    v.knob_offline_share = inst.knob_offline_share
    v.knob_finetune_share = inst.knob_finetune_share


@kernel
def _per_context_s(s: Sim, i: int) -> float:
    """Modelled decode time per token of context, at the present batch and knobs."""
    inst = s.instances[i]
    b = max(inst.decoding, 1)
    slope = s.step_context[inst.shape, b]
    if inst.depth > 0:
        slope = s.spec_context[inst.shape * s.settings[0].max_depth + inst.depth - 1, b]
    return seconds(slope) / (1.0 - inst.finetune)


@kernel
def show_own(s: Sim, i: int, table: int, j: int, r: int) -> None:
    """The parts of an Instance that belong to the request it is shown with."""
    q, row = s.requests[r], s.router_rows[table, j]
    row.tenant_requests = s.tenant_load[i, q.tenant]
    if s.settings[0].needs_share and s.instances[i].replica >= 0:
        row.share = s.plan[0].replicas[s.instances[i].replica].share[q.class_id]


@entry
def fill_instance(s: Sim, i: int, table: int, j: int, now: int) -> int:
    """One INSTANCE row as the contract's Instance at `now`, into row `j` of a table."""
    inst, v = s.instances[i], s.router_rows[table, j]
    _fill_identity(s, i, table, j)
    k = steps_done(s, i, now)
    context = inst.context + k * inst.decoding
    used = blocks_at(s, i, now)
    v.signal_age_s = 0.0
    v.queued_requests = inst.waiting
    v.queued_prompt_tokens = inst.waiting_prompt
    v.running_requests = inst.running
    v.decoding_requests = inst.decoding
    v.prefill_backlog_tokens = inst.backlog
    v.context_tokens = context + inst.fill_context
    v.mean_context_tokens = (context + inst.fill_context) / max(inst.running, 1)
    v.longest_context_tokens = 0
    if s.settings[0].needs_longest:
        v.longest_context_tokens = _longest_context(s, i, k)
    progress = context - inst.entered_context
    v.predicted_remaining_tokens = max(inst.predicted - progress, 0.0)
    v.kv_used_tokens = used * BLOCK_TOKENS
    v.kv_predicted_tokens = used * BLOCK_TOKENS + v.predicted_remaining_tokens
    v.oldest_wait_s = 0.0
    if inst.wait_head >= 0:
        v.oldest_wait_s = seconds(now - s.requests[inst.wait_head].queued_at)
    v.step_per_context_s = _per_context_s(s, i)
    step = seconds(inst.last_step)
    if inst.mode == RUN:
        step = seconds(inst.base + inst.slope * context)
    v.step_time_s = step
    alone = v.step_base_s + v.step_per_seq_s * inst.decoding + v.step_per_context_s * context
    v.decode_tokens_per_s = inst.decoding / alone
    v.preemptions = inst.preemptions
    v.offline_requests = inst.offline
    v.cached_prefix_tokens = 0
    v.transfer_s = 0.0
    v.handoff_s = np.nan
    v.tpot_slo_s = np.nan
    if s.settings[0].needs_tpot:
        v.tpot_slo_s = _tightest_tpot(s, i)
    v.grace_s = np.nan
    if inst.leaves_at != NEVER:
        v.grace_s = seconds(max(inst.leaves_at - now, 0))
    v.tenant_requests = 0
    v.tenant_count = inst.tenants
    if s.settings[0].hides and table == len(s.router_rows) - 1:
        hide_instances(s, ENGINE, table, 1)
    return 0
