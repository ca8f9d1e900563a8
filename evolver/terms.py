"""Typical terms that schedulers are made of, ready to be inserted by the mutator.

A term is an expression over records of the contract, named `request`, `inst`, `entry`, `window`,
`cluster` here. Constants in it stand in capitals and become tunables of the policy. Every term is
a number also when signals are missing: `ratio(a, b, otherwise)` answers `otherwise` for NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Range = tuple[float, float, float]
"""Value to start from, low, high."""

PLACEHOLDERS: Mapping[str, str] = {
    "request": "Request",
    "inst": "Instance",
    "entry": "Entry",
    "window": "Window",
    "cluster": "Cluster",
}


@dataclass(frozen=True, slots=True)
class Term:
    """One term: what it measures, its expression, its constants, and its usual sign.

    `sign` is +1 when more of it is a reason against (a cost), -1 when it is a reason for.
    """

    idea: str
    text: str
    constants: Mapping[str, Range] = field(default_factory=dict)
    sign: int = 1


_KNEE = {"KV_KNEE": (0.8, 0.2, 0.98)}
_OUTPUT = {"UNKNOWN_TOKENS": (256.0, 16.0, 4096.0)}

PLACEMENT: tuple[Term, ...] = (
    Term("queue length", "ratio(inst.queued_requests, inst.max_num_seqs, 0.0)"),
    Term("batch size", "ratio(inst.running_requests, inst.max_num_seqs, 0.0)"),
    Term(
        "batch after this one", "ratio(inst.queued_requests + inst.running_requests + 1, 64.0, 0.0)"
    ),
    Term(
        "KV use beyond a knee",
        "max(ratio(inst.kv_used_tokens + max(inst.queued_prompt_tokens, 0) + request.prompt_tokens,"
        " inst.kv_capacity_tokens, 0.0) - KV_KNEE, 0.0)",
        _KNEE,
    ),
    Term("KV use", "ratio(inst.kv_used_tokens, inst.kv_capacity_tokens, 0.0)"),
    Term(
        "predicted KV overflow",
        "max(ratio(inst.kv_predicted_tokens + request.prompt_tokens, inst.kv_capacity_tokens, 0.0)"
        " - KV_KNEE, 0.0)",
        _KNEE,
    ),
    Term("predicted completion", "completion_s(request, inst)"),
    Term(
        "prefill waiting ahead",
        "prefill_time_s(inst, max(inst.queued_prompt_tokens, 0)"
        " + max(inst.prefill_backlog_tokens, 0))",
    ),
    Term(
        "own prefill left after the cached prefix",
        "prefill_time_s(inst, max(request.prompt_tokens - max(inst.cached_prefix_tokens, 0), 1))",
    ),
    Term(
        "decode slowed by batch and context",
        "ratio(request.predicted_output_tokens, 1.0, UNKNOWN_TOKENS) * step_time_s(inst,"
        " inst.running_requests + 1, inst.context_tokens + request.prompt_tokens)",
        _OUTPUT,
    ),
    Term(
        "slow-down of the running batch by this prefill",
        "inst.decoding_requests * prefill_time_s(inst, request.prompt_tokens)",
    ),
    Term(
        "predicted remaining tokens",
        "ratio(inst.predicted_remaining_tokens, inst.kv_capacity_tokens, 0.0)",
    ),
    Term("oldest wait", "ratio(inst.oldest_wait_s, 1.0, 0.0)"),
    Term("step time", "ratio(inst.step_time_s, 1.0, 0.0)"),
    Term("transfer", "ratio(inst.transfer_s, 1.0, 0.0)"),
    Term("preemptions", "max(inst.preemptions, 0)"),
    Term("context already there", "ratio(inst.context_tokens, inst.kv_capacity_tokens, 0.0)"),
    Term(
        "unlike context lengths",
        "abs(ratio(inst.mean_context_tokens, request.prompt_tokens + 1, 1.0) - 1.0)",
    ),
    Term(
        "cached prefix",
        "ratio(max(inst.cached_prefix_tokens, 0), request.prompt_tokens, 0.0)",
        {},
        -1,
    ),
    Term("session stays", "1.0 if inst.id == request.last_instance else 0.0", {}, -1),
    Term(
        "share of its tenant", "ratio(max(inst.tenant_requests, 0), inst.running_requests + 1, 0.0)"
    ),
    Term("draining", "1.0 if inst.draining else 0.0"),
    Term("starting", "1.0 if inst.starting else 0.0"),
    Term(
        "offline work to push aside", "ratio(max(inst.offline_requests, 0), inst.max_num_seqs, 0.0)"
    ),
    Term("speed", "ratio(inst.decode_tokens_per_s, 1000.0, 1.0)", {}, -1),
    Term("a little chance", "random01(request.seed, inst.id)"),
)

URGENCY: tuple[Term, ...] = (
    Term("age", "request.age_s", {}, -1),
    Term(
        "predicted output",
        "max(ratio(request.predicted_output_tokens, 1.0, UNKNOWN_TOKENS) - request.done_tokens,"
        " 1.0) * (inst.step_base_s + inst.step_per_seq_s)",
        _OUTPUT,
    ),
    Term(
        "prefill left",
        "prefill_time_s(inst, max(request.prompt_tokens - max(inst.cached_prefix_tokens, 0), 1))",
    ),
    Term("time to the TTFT target", "ratio(request.ttft_slo_s - request.age_s, 1.0, 0.0)"),
    Term("time to the deadline", "ratio(request.deadline_s, 1.0, 60.0)"),
    Term("prompt", "ratio(request.prompt_tokens, 1000.0, 0.0)"),
    Term("weight", "ratio(request.weight, 1.0, 1.0)", {}, -1),
    Term("offline", "0.0 if request.online else 1.0"),
    Term("later turns first", "max(request.turn, 0)", {}, -1),
    Term("preempted before", "max(request.preempted_count, 0)", {}, -1),
    Term("work done", "ratio(request.done_tokens, 100.0, 0.0)", {}, -1),
    Term("remaining workflow", "ratio(request.workflow_remaining_s, 1.0, 0.0)"),
    Term("service its workflow had", "ratio(request.workflow_served_s, 1.0, 0.0)"),
    Term(
        "share of its tenant", "ratio(max(inst.tenant_requests, 0), inst.running_requests + 1, 0.0)"
    ),
)

KEEPING: tuple[Term, ...] = (
    Term("age of the entry", "max(entry.age_s, 0.0)", {}, -1),
    Term("hits", "max(entry.hits, 0)"),
    Term("recomputation", "ratio(entry.tokens, inst.prefill_tokens_per_s, 0.0)"),
    Term("waiting users", "max(entry.users, 0)"),
    Term("depth", "ratio(entry.depth_tokens, 1000.0, 0.0)", {}, -1),
    Term("chance of use", "ratio(entry.probability, 1.0, 0.0)"),
    Term("a live session", "1.0 if entry.session >= 0 else 0.0"),
)

ADMISSION: tuple[Term, ...] = (
    Term(
        "KV head room",
        "ratio(inst.kv_used_tokens + request.prompt_tokens, inst.kv_capacity_tokens, 0.0) <= ROOM",
        {"ROOM": (0.95, 0.3, 1.0)},
    ),
    Term(
        "predicted KV head room",
        "ratio(inst.kv_predicted_tokens + request.prompt_tokens, inst.kv_capacity_tokens, 0.0)"
        " <= ROOM",
        {"ROOM": (1.0, 0.3, 2.0)},
    ),
    Term("batch limit", "inst.running_requests < BATCH", {"BATCH": (128.0, 8.0, 512.0)}),
    Term(
        "step time within the target",
        "ratio(inst.step_time_s, request.tpot_slo_s, 0.0) <= SLACK",
        {"SLACK": (1.0, 0.2, 4.0)},
    ),
    Term("has waited", "request.age_s >= PATIENCE_S", {"PATIENCE_S": (1.0, 0.05, 30.0)}),
    Term("online", "request.online"),
)

TRIGGER: tuple[Term, ...] = (
    Term("GPUs changed", "window.capacity_changed"),
    Term("plan cannot run", "not window.plan_feasible"),
    Term("plan is old", "window.since_plan_s >= PLAN_AGE_S", {"PLAN_AGE_S": (600.0, 30.0, 7200.0)}),
    Term(
        "rate moved",
        "abs(ratio(window.classes[0].rate_rps, window.rate_at_plan_rps, 1.0) - 1.0) > RATE_BAND",
        {"RATE_BAND": (0.3, 0.05, 3.0)},
    ),
    Term("KV pressure", "window.kv_pressure > PRESSURE", {"PRESSURE": (0.85, 0.3, 1.0)}),
    Term("long queues", "window.classes[0].queue_mean_s > QUEUE_S", {"QUEUE_S": (2.0, 0.05, 60.0)}),
    Term("switch paid off", "window.since_plan_s > PAYBACK * ratio(window.last_switch_s, 1.0, 0.0)",
         {"PAYBACK": (5.0, 0.5, 50.0)}),
)  # fmt: skip

BY_HOOK: Mapping[str, tuple[Term, ...]] = {
    "priority": URGENCY,
    "evict": KEEPING,
    "admit": ADMISSION,
    "should_reschedule": TRIGGER,
}
"""Terms for what a hook answers; scores inside routing hooks and helpers use `PLACEMENT`."""
