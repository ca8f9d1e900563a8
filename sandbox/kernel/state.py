"""The simulator's memory: one structured array per kind of thing, all times int64 picoseconds.

Every kernel function takes the whole `Sim` tuple; nothing else is shared. Rows are addressed by
index, -1 means none. Linked lists and heaps are threaded through the rows themselves, so nothing
is allocated while the simulation runs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PS_PER_S = 1_000_000_000_000
NEVER = 2**62
MAX_GPUS_PER_REPLICA = 16
BLOCK_TOKENS = 16
FIRST_ROW = 1  # column of `segments`: where its rows of `cached` begin, or -2 - row of `popular`

# request states
WAITING_ARRIVAL, DECIDING, HELD, QUEUED, RUNNING, FINISHED, REJECTED, KEPT, ENDED = range(9)
# what became of one of several samples, whose own row is then ENDED
HAS_FINISHED, PRUNED, ENOUGH, LOST = range(1, 5)
# instance states
UNUSED, STARTING, ACTIVE, LEAVING = range(4)
# what an instance is computing
IDLE, STEP, RUN = range(3)
# event kinds; equal times are handled in this order, then by (instance, request). Whatever looks at
# an engine, or changes it, comes after all step ends of that time: a macro-step has none in its
# middle.
(
    STEP_END, CAPACITY, PROVISIONED, DETECTED, COPIED, LANDED, HANDOVER, LOADED, READY, DRAINED,
    PLAN_READY, DISPATCH, REVEAL, ARRIVAL, RETRY, DEADLINE, REKEY, MIGRATION, CONTROL, MONITOR,
) = range(20)  # fmt: skip

REQUEST = np.dtype(
    [
        ("arrival", "i8"), ("entered", "i8"), ("first", "i8"), ("finish", "i8"),
        ("think", "i8"), ("hold_since", "i8"), ("order", "i8"), ("seed", "i8"),
        ("enter_count", "i8"), ("heap_seq", "i8"), ("path_start", "i8"), ("answer_start", "i8"),
        ("workflow_start", "i8"), ("queued_at", "i8"), ("sent_to", "i8"), ("workflow_served", "f8"),
        ("predicted", "f8"), ("predicted_error", "f8"), ("weight", "f8"),
        ("priority", "f8"), ("heap_key", "f8"),
        ("prompt", "i4"), ("output", "i4"), ("tenant", "i4"), ("session", "i4"),
        ("turn", "i4"), ("class_id", "i4"), ("after", "i4"), ("root", "i4"),
        ("pending", "i4"), ("workflow_done", "i4"), ("period", "i4"),
        ("state", "i4"), ("instance", "i4"), ("done", "i4"), ("computed", "i4"),
        ("target", "i4"), ("chunk", "i4"), ("blocks", "i4"), ("path_count", "i4"),
        ("answer_count", "i4"), ("held_segments", "i4"), ("held_blocks", "i4"),
        ("prompt_blocks", "i4"), ("answer_blocks", "i4"),
        ("sent_tokens", "i4"), ("last_instance", "i4"), ("held", "i4"),
        ("preempted", "i4"), ("keyed", "i4"),
        ("heap_child", "i4"), ("heap_next", "i4"), ("heap_prev", "i4"),
        ("list_next", "i4"), ("list_prev", "i4"), ("fill_next", "i4"),
        ("online", "?"), ("decoding", "?"),
        ("workflow", "i4"),
        ("kept_since", "i8"), ("moves_at", "i8"), ("pulled_at", "i8"), ("moved", "i4"),
        ("source", "i4"), ("source_blocks", "i4"), ("keep_next", "i4"), ("keep_prev", "i4"),
        ("prefill_id", "i4"), ("move_to", "i4"), ("move_id", "i4"), ("move_phase", "i4"),
        ("reserved", "i4"), ("copied", "i4"), ("remote", "?"), ("landing", "i1"),
        ("place", "i8"), ("swapped", "i4"), ("told_prompt", "i4"), ("began", "i8"), ("found", "i4"),
        ("behind", "i8"),
    ],
    align=True,
)  # fmt: skip

SAMPLE = np.dtype(
    [
        ("parent", "i4"), ("branch", "i4"), ("asked", "i4"), ("base", "i4"), ("started", "i4"),
        ("live", "i4"), ("finished", "i4"), ("owner", "i4"), ("fate", "i4"), ("shared", "i4"),
        ("look", "i4"), ("length", "i4"), ("looked", "i8"), ("quality", "f8"),
    ],
    align=True,
)  # fmt: skip

INSTANCE = np.dtype(
    [
        ("id", "i8"), ("state", "i4"), ("role", "i4"), ("pool", "i4"), ("shape", "i4"),
        ("tp", "i4"), ("pp", "i4"), ("gpus", "i4"), ("node", "i4"), ("zone", "i4"),
        ("replica", "i4"), ("length_low", "i8"), ("length_high", "i8"), ("share", "f8"),
        ("gpu", "i4", (MAX_GPUS_PER_REPLICA,)),
        ("ready_at", "i8"), ("event_at", "i8"), ("event_pos", "i4"),
        ("mode", "i4"), ("started", "i8"), ("ends", "i8"), ("steps", "i8"), ("base", "i8"),
        ("slope", "i8"), ("attention", "i8"), ("last_step", "i8"), ("busy", "i8"),
        ("count", "i8"), ("decoding", "i8"), ("context", "i8"), ("entered_context", "i8"),
        ("bins", "i8", (BLOCK_TOKENS,)),
        ("wait_root", "i4"), ("wait_head", "i4"), ("wait_tail", "i4"), ("waiting", "i8"),
        ("waiting_prompt", "i8"), ("done_root", "i4"), ("run_head", "i4"), ("run_tail", "i4"),
        ("running", "i8"), ("fill_head", "i4"), ("fill_tail", "i4"), ("filling", "i8"),
        ("backlog", "i8"), ("fill_context", "i8"), ("blocks_total", "i8"), ("blocks_used", "i8"),
        ("blocks_cached", "i8"), ("cache_head", "i4"), ("cache_tail", "i4"),
        ("denied_blocks", "i8"), ("denied", "i4"),
        ("predicted", "f8"), ("offline", "i8"), ("tenants", "i8"),
        ("token_budget", "i8"), ("max_seqs", "i8"), ("preemptions", "i8"),
        ("finished_tick", "i8"), ("asked", "i4"), ("allowed", "?"), ("leaves_at", "i8"),
        ("born", "i8"), ("loaded_at", "i8"), ("load_end", "i8"), ("drained_from", "i8"),
        ("source", "i4"), ("flipping", "?"), ("stuck", "?"),
        ("class_running", "i4", (8,)),
        ("keep_head", "i4"), ("keep_tail", "i4"), ("kept", "i8"), ("landing", "i8"),
        ("landed_head", "i4"), ("landed_tail", "i4"), ("incoming", "i8"), ("going", "i8"),
        ("egress_free", "i8"), ("ingress_free", "i8"), ("route_row", "i4"), ("decode_row", "i4"),
        ("flipped", "?"),
        ("offline_root", "i4"), ("offline_running", "i8"), ("offline_cap", "i8"),
        ("room", "i8"), ("micro", "i8"), ("micro_tokens", "i8"), ("prefill", "i8"),
        ("swap_used", "i8"), ("swapping", "i8"), ("hooks", "i8"), ("depth", "i8"),
        ("offline_share", "f8"),
        ("finetune", "f8"), ("stretch", "i8"), ("tuned_at", "i8"), ("tuned_busy", "i8"),
        ("retuned", "?"), ("joined", "?"), ("knob_token_budget", "i8"), ("knob_speculation", "i8"),
        ("knob_offline_share", "f8"), ("knob_finetune_share", "f8"), ("accounted", "i8"),
        ("evictions", "i8"), ("warm_until", "i8"),
    ],
    align=True,
)  # fmt: skip

SENT = np.dtype([("requests", "i8"), ("tokens", "i8"), ("predicted", "f8")], align=True)

# who reads what an engine decodes, by class, and the ends of its runs that may be their worst
READER = np.dtype([("requests", "i8"), ("entered", "i8"), ("leads", "i8")], align=True)
LEAD = np.dtype([("count", "i8"), ("lead", "i8"), ("needed", "?")], align=True)

CACHED = np.dtype(
    [
        ("since", "i8"), ("used_at", "i8"), ("value", "f8"), ("segment", "i4"), ("users", "i4"),
        ("present", "i4"), ("hits", "i4"), ("before", "i4"), ("after", "i4"), ("session", "i4"),
        ("instance", "i4"), ("same", "i4"),
        ("online", "?"),
    ],
    align=True,
)  # fmt: skip

EVICTED = np.dtype(
    [
        ("since", "i8"), ("used_at", "i8"), ("segment", "i4"), ("hits", "i4"), ("session", "i4"),
        ("online", "?"),
    ],
    align=True,
)  # fmt: skip

POOL = np.dtype(
    [
        ("gpu_type", "i8"), ("node_size", "i8"), ("zone", "i8"), ("first_gpu", "i8"),
        ("gpus", "i8"), ("spot", "?"), ("price", "f8"), ("memory", "f8"), ("flops", "f8"),
        ("bandwidth", "f8"), ("link", "f8"), ("load", "f8"), ("present", "i8"), ("free", "i8"),
        ("leaving", "i8"), ("leave_at", "i8"),
        ("elastic", "?"), ("most", "i8"), ("provision", "i8"), ("arriving", "i8"),
        ("wanted", "i8"), ("asked", "i8"), ("changed", "?"), ("seen_ps", "f8"),
        ("network", "f8"),
    ],
    align=True,
)  # fmt: skip

GPU = np.dtype(
    [
        ("pool", "i4"), ("node", "i4"), ("present", "?"), ("instance", "i4"), ("leave_at", "i8"),
        ("failed", "?"), ("offered", "?"), ("coming", "?"), ("copy", "?"), ("ticket", "i4"),
    ],
    align=True,
)  # fmt: skip

SHAPE = np.dtype(
    [
        ("pool", "i8"), ("tp", "i8"), ("pp", "i8"), ("gpus", "i8"), ("kv_tokens", "i8"),
        ("kv_blocks", "i8"), ("limit_tokens", "i8"), ("start", "i8"), ("step_overhead", "i8"),
        ("request_overhead", "i8"), ("attention_prefix", "i8"), ("attention_chunk", "i8"),
        ("attention_linear", "i8"), ("prefill_rate", "f8"), ("decode_base", "f8"),
        ("decode_per_seq", "f8"),
        ("load", "i8", (3,)), ("boot", "i8"),
        ("kv_bytes", "f8"),
        ("swap_blocks", "i8"), ("swap_block", "i8"),
    ],
    align=True,
)  # fmt: skip

# where the weights of a new engine come from; the fourth phase of a start is the process itself
PEER, HOST, STORAGE, BOOT = range(4)

# what happens to a GPU: announced to go, gone, back, broken without anybody's notice
ANNOUNCE, DOWN, UP, FAIL = range(4)
CAPACITY_EVENT = np.dtype(
    [("at", "i8"), ("gpu", "i4"), ("what", "i4"), ("leaves_at", "i8")], align=True
)

EVENT = np.dtype([("at", "i8"), ("kind", "i4"), ("a", "i4"), ("b", "i4")], align=True)

CLASS_STATS = np.dtype(
    [
        ("learned", "i8"), ("learned_sum", "i8"), ("learned_square", "i8"), ("queued", "i8"),
    ],
    align=True,
)  # fmt: skip

SETTINGS = np.dtype(
    [
        ("block_tokens", "i8"), ("monitor", "i8"), ("rekey", "i8"), ("hold_tick", "i8"),
        ("migration", "i8"), ("control", "i8"),
        ("max_hold", "i8"), ("signal_age", "i8"), ("stop", "i8"),
        ("drain", "i8"), ("fuel_ps", "i8"), ("route_fuel", "i8"), ("plan_fuel", "i8"),
        ("routers", "i8"), ("token_budget", "i8"), ("max_seqs", "i8"), ("backlog", "?"),
        ("macro", "?"), ("kv_bytes", "f8"), ("weight_bytes", "f8"),
        ("ttft_slo", "f8", (8,)), ("tpot_slo", "f8", (8,)), ("e2e_slo", "f8", (8,)),
        ("pace", "i8", (8,)),
        ("nominal_prompt", "f8"), ("nominal_output", "f8"), ("has_prefixes", "?"),
        ("has_priority", "?"), ("has_admit", "?"), ("needs_longest", "?"),
        ("has_migrate", "?"), ("has_control", "?"), ("has_evict", "?"), ("debug", "?"),
        ("reserve", "?"),
        ("has_storage", "?"), ("storage", "f8"), ("detect", "i8"), ("flip", "i8"),
        ("has_workflows", "?"), ("has_horizons", "?"), ("learns_lengths", "?"),
        ("class_deadline", "f8", (8,)), ("class_late", "i8", (8,)), ("class_hold", "i8", (8,)),
        ("class_drops", "i8", (8,)), ("drops_late", "?"), ("needs_tpot", "?"),
        ("link_latency", "i8"), ("zone_latency", "i8"), ("zone_rate", "f8"), ("keep", "i8"),
        ("move_running", "?"), ("needs_handoff", "?"),
        ("has_tune", "?"), ("has_finetune", "?"), ("swap", "?"), ("depth", "i8"),
        ("max_depth", "i8"), ("acceptance", "f8"), ("finetune", "f8"), ("length_spread", "i8"),
        ("most_budget", "i8"),
        ("has_samples", "?"), ("has_branches", "?"), ("samples_needed", "i8"),
        ("samples_every", "i8"), ("samples_noise", "f8"), ("rows", "i8"),
        ("hides", "?"), ("remembers", "?"), ("needs_share", "?"), ("has_prewarm", "?"),
    ],
    align=True,
)  # fmt: skip

TOTALS = np.dtype(
    [
        ("now", "i8"), ("next_id", "i8"), ("next_arrival", "i8"), ("next_capacity", "i8"),
        ("events", "i8"), ("instance_events", "i8"), ("planning", "?"),
        ("outstanding", "i8"), ("period", "i8"), ("held_head", "i4"), ("held_tail", "i4"),
        ("held", "i8"), ("next_retry", "i8"), ("next_monitor", "i8"), ("next_rekey", "i8"),
        ("next_migration", "i8"), ("next_control", "i8"),
        ("integrated", "i8"), ("gpus_present", "i8"), ("gpus_loading", "i8"),
        ("gpus_working", "i8"), ("gpu_ps", "f8"), ("loading_ps", "f8"), ("blocked_ps", "f8"),
        ("price_usd", "f8"), ("planning_ps", "i8"), ("deciding_ps", "i8"), ("decisions", "i8"),
        ("fuel", "i8"), ("plans", "i8"), ("plan_fuel", "i8"), ("reconfigurations", "i8"),
        ("faults", "i8"), ("first_fault", "i8"), ("fault_hook", "i8"),
        ("last_plan", "i8"), ("last_switch", "i8"), ("switch_from", "i8"),
        ("last_capacity", "i8"), ("rate_at_plan", "f8"), ("finished", "i8"), ("rejected", "i8"),
        ("preemptions", "i8"), ("steps", "i8"), ("handled", "i8"), ("last_finish", "i8"),
        ("last_monitor", "i8"), ("capacity_changed", "?"),
        ("feasible", "?"), ("busy_at_monitor", "i8"), ("cached_tokens", "i8"),
        ("prompt_tokens", "i8"), ("broken", "i8"),
        ("cache_spare", "i8"), ("cache_rows", "i8"),
        ("phase_ps", "f8", (4,)), ("starts", "i8", (3,)), ("drain_ps", "f8"),
        ("recomputed", "i8"), ("flips", "i8"), ("failures", "i8"), ("stand_in", "?"),
        ("storage_clock", "i8"), ("storage_rest", "i8"), ("storage_at", "i8"),
        ("storage_users", "i8"), ("storage_turn", "i8"), ("least_room", "i8"),
        ("migrations", "i8"), ("moves_refused", "i8"), ("shown_from", "i8"), ("transfers", "i8"),
        ("transfer_ps", "i8"), ("kv_moved", "f8"),
        ("places", "i8"), ("swaps", "i8"), ("finetune_ps", "f8"),
        ("samples_started", "i8"), ("samples_pruned", "i8"), ("sample_tokens", "i8"),
        ("prewarmed_tokens", "i8"),
    ],
    align=True,
)  # fmt: skip

Rows = NDArray[np.void]


class Sim(NamedTuple):
    """Everything one simulation reads and writes.

    Attributes:
        settings: one SETTINGS row; constant during a run.
        totals: one TOTALS row; the clock, counters and integrals.
        requests: one REQUEST row per request of the trace, in arrival order.
        instances: INSTANCE rows, as many as may be alive at once, reused after an engine is gone.
        pools, gpus, shapes: the hardware; shapes are the replicas that fit it.
        step_tokens: (shapes, tokens + 1) picoseconds of a step by its tokens.
        step_batch, step_context, step_mixed: (shapes, batch + 1), decode tables of the profile.
        spec_batch, spec_context: (shapes * most depth, batch + 1), a token of a decode step that
            speculates: row shape * most depth + depth - 1, picoseconds, host time included.
        spec_line: (shapes * most depth, 2), seconds: base and rise by sequence of the same.
        capacity: CAPACITY_EVENT rows, ascending in time.
        events: heap storage of EVENT rows.
        instance_heap: heap of instance indices by `event_at`.
        segments: (segments, 2 + 3 * words) shared prefixes and who holds them, see segments.py.
        paths: every prompt's way through them.
        cached, popular: CACHED rows, and (segments, instances) row numbers, see cached.py.
        matched: (instances,) tokens of the prompt being routed that each holds.
        entry_row: one contract Entry.
        evicted: (instances, MAX_ENTRIES) EVICTED, what each forgot last, in turns.
        entries, offered: contract Entry rows that `prewarm` sees, and where in `evicted` each is.
        above: (segments,) the segment that each goes on from, -1 for none.
        readers: (instances, classes) READER rows, see readers.py.
        leads: (instances * classes, ends) LEAD rows.
        tenant_load: (instances, tenants) queued and running requests.
        class_stats: CLASS_STATS rows.
        sums, closed: (classes, summary.WIDTH) what happened so far, and up to the previous
            monitoring point; row 0 is all classes together.
        latest_arrival: when each class's latest request came in, seconds; NaN before the first.
        outlook: (classes, summary_forecast.WIDTH) what forecasts are made from.
        router_rows: (2 * routers + 3, instances) contract Instance records: each router's stale
            view for `route`, each one's for `route_decode`, the rows that fit one request, those
            that `migrate` sees, and the one row that engine hooks see.
        router_slots: (2 * routers + 1, instances) instance index of each row.
        router_seen: when each row was refreshed, -1 for never.
        router_counts: rows filled, per view.
        sent: (routers, instances) SENT, dispatched by a router and not arrived yet.
        router_free: when each router has finished its present decision.
        router_memory, engine_memory, planner_memory: policy memory by scope.
        request_row, window, cluster, plan, new_plan: single contract records.
        running, moves: candidates for migration, and the moves that the policy chose.
        frame: one FRAME row for hook calls.
        hooks: native addresses in HOOKS order, the policy's and then the default's.
        hook_parameters: address of the parameters that belong to each.
        scratch: SCRATCH_FLOATS floats.
        edge_offsets, edge_rows: the calls that wait for each request, see workflows.py.
        horizons: (requests, 2) predicted seconds left of the workflow, and of all of it.
        samples: SAMPLE rows of all requests when some are sampled, see branches.py.
        branch_rows: contract Branch records of the request that is asked about.
        hidden: (2 * masked records, words) what a signal profile hides, see hiding.py.
        request_words, router_words, window_words: the memory of those records as int64.
        links: native addresses of the kernel's entries.
    """

    settings: Rows
    totals: Rows
    requests: Rows
    instances: Rows
    pools: Rows
    gpus: Rows
    shapes: Rows
    step_tokens: NDArray[np.int64]
    step_batch: NDArray[np.int64]
    step_context: NDArray[np.int64]
    step_mixed: NDArray[np.int64]
    spec_batch: NDArray[np.int64]
    spec_context: NDArray[np.int64]
    spec_line: NDArray[np.float64]
    capacity: Rows
    events: Rows
    instance_heap: NDArray[np.int64]
    segments: NDArray[np.int64]
    paths: NDArray[np.int32]
    cached: Rows
    popular: NDArray[np.int32]
    matched: NDArray[np.int64]
    entry_row: Rows
    evicted: Rows
    entries: Rows
    offered: NDArray[np.int64]
    above: NDArray[np.int32]
    readers: Rows
    leads: Rows
    tenant_load: NDArray[np.int32]
    class_stats: Rows
    sums: NDArray[np.int64]
    closed: NDArray[np.int64]
    latest_arrival: NDArray[np.float64]
    outlook: NDArray[np.float64]
    router_rows: Rows
    router_slots: NDArray[np.int64]
    router_seen: NDArray[np.int64]
    router_counts: NDArray[np.int64]
    router_free: NDArray[np.int64]
    sent: Rows
    router_memory: NDArray[np.float64]
    engine_memory: NDArray[np.float64]
    planner_memory: NDArray[np.float64]
    request_row: Rows
    window: Rows
    cluster: Rows
    plan: Rows
    new_plan: Rows
    running: Rows
    moves: Rows
    frame: Rows
    hooks: NDArray[np.int64]
    hook_parameters: NDArray[np.int64]
    scratch: NDArray[np.float64]
    edge_offsets: NDArray[np.int64]
    edge_rows: NDArray[np.int32]
    horizons: NDArray[np.float64]
    samples: Rows
    branch_rows: Rows
    hidden: NDArray[np.int64]
    request_words: NDArray[np.int64]
    router_words: NDArray[np.int64]
    window_words: NDArray[np.int64]
    links: NDArray[np.int64]
