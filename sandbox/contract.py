"""The policy contract: the hooks a policy may define and the records they see.

A policy is one Python file: a docstring that says its idea, UPPER_CASE constants, helper
functions and any of the hooks below. A hook left out falls back to the default policy. No
imports, no classes, no strings beyond the docstring, no `while`, no recursion; `for` over rows,
`range` and local lists. In scope besides this file's constants: the functions of
`sandbox/toolkit.py`.

Times are seconds, sizes tokens or bytes; the unit is in the name. A missing signal is NaN (float)
or -1 (int), never zero: test floats with `is_missing(x)`. Nothing here shows the future: lengths
are predictions, arrivals after now are in no record.

`memory` is 64 float64, zeroed when the policy enters, one per scope: *router* (`route`,
`route_decode`; one per router process), *engine* (`priority`, `admit`, `evict`, `prewarm`,
`branches`, `tune`; one per instance), *planner* (`should_reschedule`, `schedule`, `migrate`; one).
Scopes share nothing.

Constants are tunable: `KNEE = 0.85  # tune: 0.5 .. 0.99`. A tuner moves them within their range
(without one, a number with a point from a fourth to four times its value, a whole number not at
all); structure is what you write.

Every statement, loop turn and call costs fuel, and fuel is charged as scheduling time. Hooks per
request have a static bound; `schedule`, `should_reschedule` and `migrate` a larger budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

CONTRACT_VERSION = 1

HOLD = -1  # route: keep the request and ask again when capacity frees
REJECT = -2  # route: refuse the request now
MIXED, PREFILL, DECODE = 0, 1, 2  # instance and replica roles
MAX_REPLICAS, MAX_POOLS, MAX_SHAPES, MAX_CLASSES = 512, 16, 64, 8
MAX_RUNNING, MAX_ENTRIES, MAX_BRANCHES = 256, 256, 64
MEMORY_SLOTS = 64
SCRATCH_FLOATS = 16_384  # zeros(n) and zeros(n, m), together, per call

Rows = Sequence  # `for x in plan.replicas` visits the filled ones, len() counts them
Memory = Sequence[float]
Floats = Sequence[float]


class Record:
    """Base of everything a policy sees: plain numbers under names, no methods."""


class Request(Record):
    """One request at the moment of the decision."""

    now_s: float
    age_s: float  # since arrival
    seed: int  # feed to random01(request.seed, k)
    prompt_tokens: int
    predicted_output_tokens: float  # of the whole answer; NaN without a predictor
    predicted_output_error: float  # relative standard error of that prediction
    done_tokens: int  # generated so far
    class_id: int  # 1.. ; class 0 means all classes
    tenant: int
    weight: float
    online: bool  # False: offline work without a latency target
    ttft_slo_s: float
    tpot_slo_s: float
    e2e_slo_s: float
    deadline_s: float  # seconds left until the deadline; negative when late; NaN without one
    session: int  # -1 outside a session
    turn: int  # 0 for the first call of a session
    last_instance: int  # instance that served the session's previous call, -1 if none
    prefix_key: int  # identifies the first block of the prompt, -1 when unknown
    workflow: int  # -1 outside a workflow
    workflow_done_calls: int
    workflow_age_s: float  # since the workflow's first call
    workflow_served_s: float  # service its finished calls received
    workflow_remaining_s: float  # predicted, this call included; NaN if unknown
    workflow_horizon_s: float  # predicted, had it run alone; NaN if unknown
    branch: int  # index among parallel samples
    branch_count: int
    held_count: int
    preempted_count: int
    moved_count: int
    keyed_count: int  # times priority() was asked about it before; 0 when it is new here


class Instance(Record):
    """One engine replica, seen `signal_age_s` late; own dispatches are counted at once."""

    id: int  # stable, never reused; not a position
    role: int
    pool: int  # index into cluster.pools
    tp: int
    pp: int
    node: int
    zone: int
    length_low_tokens: int  # range of lengths the plan wants here
    length_high_tokens: int
    share: float  # of its class of traffic, as planned
    signal_age_s: float
    queued_requests: int
    queued_prompt_tokens: int
    running_requests: int  # in the batch: prefilling and decoding
    decoding_requests: int
    prefill_backlog_tokens: int  # prompt tokens of running requests not yet computed
    context_tokens: int  # of all running requests
    mean_context_tokens: float
    longest_context_tokens: int
    predicted_remaining_tokens: float  # outputs still to come, queued and running; NaN if unknown
    oldest_wait_s: float
    kv_used_tokens: int
    kv_capacity_tokens: int
    kv_predicted_tokens: float  # if every running request reaches its predicted length
    max_num_seqs: int
    token_budget: int  # tokens one step may process
    step_time_s: float  # of the latest step
    prefill_tokens_per_s: float  # modelled, an empty engine
    decode_tokens_per_s: float  # modelled, whole batch, at the present batch and context
    step_base_s: float  # modelled decode step = base + per_seq * batch + per_context * context
    step_per_seq_s: float
    step_per_context_s: float
    cached_prefix_tokens: int  # of this request's prompt, present in this instance's prefix cache
    transfer_s: float  # KV transfer from the request's present instance to this one
    handoff_s: float  # transfer and wait for the best decode instance from here; NaN if unknown
    tpot_slo_s: float  # tightest among the online requests running here; NaN when none has one
    grace_s: float  # until its GPUs are taken away; NaN when they stay
    draining: bool
    starting: bool
    preemptions: int  # since the previous control tick
    tenant_requests: int  # of this request's tenant, queued and running here
    tenant_count: int  # tenants with work here
    offline_requests: int
    speculation_depth: int
    acceptance: float  # of speculated tokens; NaN when off
    offline_share: float
    finetune_share: float
    knob_token_budget: int  # what tune() asked for last; -1: unchanged
    knob_speculation: int
    knob_offline_share: float
    knob_finetune_share: float


class ClassRow(Record):
    """One class of traffic in a window; row 0 is all classes together."""

    class_id: int
    requests: int
    rate_rps: float
    forecast_rps: float  # for the next period
    forecast_error: float  # relative
    burstiness: float  # coefficient of variation of inter-arrival times
    prompt_mean_tokens: float
    prompt_p95_tokens: float
    output_mean_tokens: float
    output_p95_tokens: float
    reuse: float  # share of prompt tokens found in a prefix cache
    queued_requests: int
    queue_mean_s: float
    ttft_mean_s: float
    tpot_mean_s: float
    e2e_mean_s: float
    slo_attainment: float
    rejected: int
    preemptions: int


class Window(Record):
    """What was observed since the previous monitoring point, and since the last plan."""

    now_s: float
    span_s: float
    classes: Annotated[Rows[ClassRow], MAX_CLASSES]  # empty until the first monitoring point
    kv_pressure: float  # used over capacity, mean over instances
    kv_pressure_max: float
    busy: float  # share of instance time spent computing
    since_plan_s: float  # since the present plan was asked for
    since_capacity_change_s: float
    capacity_changed: bool  # since the previous monitoring point
    plan_feasible: bool  # False: GPUs of the present plan are gone
    scheduling_s: float  # so far, planner time
    reconfiguration_s: float  # so far, GPU-weighted
    serving_s: float
    rate_at_plan_rps: float  # arrival rate when the present plan was made
    last_switch_s: float  # what the last reconfiguration took; NaN before the first


class Pool(Record):
    """GPUs of one type in one place."""

    gpu_type: int  # code of the GPU type, equal across pools of one type
    present: int
    in_use: int
    free: int
    leaving: int  # announced to go within their grace period
    grace_s: float  # until the first of them goes; NaN when none
    arriving: int
    node_size: int
    zone: int
    spot: bool
    price_usd_per_hour: float  # of one GPU
    memory_bytes: float
    flops: float
    bandwidth_bytes_per_s: float
    link_bytes_per_s: float  # between its GPUs
    load_bytes_per_s: float  # weights from the nearest copy
    outlook: float  # expected change of `present` over the next ten minutes; NaN if unknown
    elastic: bool  # may GPUs be asked for?
    wanted: int  # schedule() may set it through want_gpus()


class Shape(Record):
    """A replica that could be built, and what it would do with the present traffic."""

    pool: int
    tp: int
    pp: int
    gpus: int
    fits_now: int  # how many of them the pool's free and used GPUs could hold
    kv_capacity_tokens: int
    prefill_tokens_per_s: float
    rate_rps: float  # requests like the window's, sustained
    class_rate_rps: Annotated[Floats, MAX_CLASSES]  # the same for each class alone, by class_id
    latency_s: float  # of one such request alone
    start_s: float  # process start and weight load


class Cluster(Record):
    """What hardware there is."""

    pools: Annotated[Rows[Pool], MAX_POOLS]
    shapes: Annotated[Rows[Shape], MAX_SHAPES]
    weight_bytes: float
    kv_bytes_per_token: float
    monitoring_s: float  # between two monitoring points
    max_num_seqs: int  # sequences one replica may run at once; -1 if unknown
    ttft_slo_s: Annotated[Floats, MAX_CLASSES]  # promised to each class, by class_id; 0: the first
    tpot_slo_s: Annotated[Floats, MAX_CLASSES]  # NaN where there is no class
    e2e_slo_s: Annotated[Floats, MAX_CLASSES]
    gpus_present: int
    gpus_free: int
    price_usd_per_hour: float  # of what is in use


class Replica(Record):
    """One entry of a plan."""

    pool: int
    tp: int
    pp: int
    role: int
    length_low_tokens: int
    length_high_tokens: int
    share: Annotated[Floats, MAX_CLASSES]
    instance: int  # id of the engine that realises it, -1 while it has none
    ready: bool
    queued_requests: int
    running_requests: int
    kv_used: float  # share of its KV capacity
    rate_rps: float  # it finished in the last window


class Plan(Record):
    """A deployment of the cluster."""

    replicas: Annotated[Rows[Replica], MAX_REPLICAS]
    age_s: float
    reconfigurations: int
    keep: bool  # set by keep_plan()


class Running(Record):
    """A candidate for migration: the request, where it is, and what moving it costs."""

    request: int
    instance: int
    class_id: int
    online: bool
    decoding: bool
    prompt_tokens: int
    done_tokens: int
    context_tokens: int
    predicted_remaining_tokens: float
    age_s: float
    kv_bytes: float
    transfer_s: float  # over an idle link
    moved_count: int


class Move(Record):
    """One chosen migration."""

    request: int
    instance: int


class Moves(Record):
    """The migrations chosen at this tick, filled by add_move()."""

    rows: Annotated[Rows[Move], MAX_RUNNING]


class Entry(Record):
    """A prefix (or adapter) that is cached, or was and could be brought in again."""

    tokens: int
    age_s: float  # since last use
    hits: int
    users: int  # queued requests that would reuse it
    session: int
    online: bool
    depth_tokens: int  # tokens before it in the prefix chain
    load_s: float
    probability: float  # of being asked for within a minute; NaN if unknown
    in_s: float  # expected time until it is asked for; NaN if unknown
    wanted: bool  # set by bring_in()


class Branch(Record):
    """One parallel sample of a request."""

    index: int
    done_tokens: int
    finished: bool
    score: float  # quality signal, NaN before the first
    pruned: bool  # set by prune()


def should_reschedule(window: Window, cluster: Cluster, plan: Plan, memory: Memory) -> bool:
    """Trigger, at every monitoring point and capacity event: is it worth planning now?"""
    raise NotImplementedError


def schedule(
    window: Window, cluster: Cluster, plan: Plan, new_plan: Plan, memory: Memory
) -> None:
    """Planner, when triggered or when the plan became infeasible: fill `new_plan`."""
    raise NotImplementedError


def route(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    """At arrival, and when a held request is retried: id of a row, HOLD or REJECT."""
    raise NotImplementedError


def route_decode(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    """When a disaggregated prefill is done: id of a decode instance, or HOLD."""
    raise NotImplementedError


def priority(request: Request, instance: Instance, memory: Memory) -> float:
    """Place in the instance's queue, lower first; the highest is preempted first."""
    raise NotImplementedError


def migrate(
    running: Rows[Running], instances: Rows[Instance], moves: Moves, memory: Memory
) -> None:
    """At every migration tick: which running requests move where."""
    raise NotImplementedError


def admit(request: Request, instance: Instance, memory: Memory) -> bool:
    """At batch formation: run the head of the queue now, or leave it waiting."""
    raise NotImplementedError


def evict(entry: Entry, instance: Instance, memory: Memory) -> float:
    """Under cache pressure: keep-value of a cached prefix, lowest goes first."""
    raise NotImplementedError


def prewarm(instance: Instance, entries: Rows[Entry], memory: Memory) -> None:
    """At the control tick: which prefixes or adapters to bring in early, through bring_in()."""
    raise NotImplementedError


def branches(request: Request, branches: Rows[Branch], memory: Memory) -> int:
    """Parallel samples, at start and every few tokens: how many to run; prune() stops some."""
    raise NotImplementedError


def tune(instance: Instance, memory: Memory) -> None:
    """At the control tick: knobs, through set_token_budget(), set_speculation() and their like."""
    raise NotImplementedError
