"""Disaggregated end to end: route by prefill wait plus handoff, route_decode by SLO headroom."""

HANDOFF_WEIGHT = 1.0  # tune: 0 .. 5
MIXED_PENALTY_S = 0.1  # tune: 0 .. 5
KV_MAX = 0.92  # tune: 0.5 .. 1.0
NEAR_BONUS = 0.05  # tune: 0 .. 1


def prefill_cost(request, inst):
    cached = max(0, inst.cached_prefix_tokens)
    own = max(0, request.prompt_tokens - cached)
    cost = prefill_time_s(inst, inst.queued_prompt_tokens + inst.prefill_backlog_tokens + own)
    if inst.role == PREFILL:
        cost += HANDOFF_WEIGHT * (0.0 if is_missing(inst.handoff_s) else inst.handoff_s)
    else:
        # decoding steals part of every step on a mixed instance
        cost += MIXED_PENALTY_S * ratio(inst.decoding_requests, inst.max_num_seqs, 0.0)
    return cost


def route(request, instances, memory):
    options = [
        (prefill_cost(request, inst), inst.id)
        for inst in instances
        if inst.role in (PREFILL, MIXED) and not inst.draining and not inst.starting
    ]
    if not options:
        return HOLD
    _, chosen = min(options)
    return chosen


def headroom(request, inst):
    tokens = request.prompt_tokens + request.done_tokens
    step = step_time_s(inst, inst.running_requests + 1, inst.context_tokens + tokens)
    slo = request.tpot_slo_s
    if is_missing(slo):
        slo = 0.1
    return 1.0 - step / slo


def route_decode(request, instances, memory):
    tokens = request.prompt_tokens + request.done_tokens
    best_id = HOLD
    best_value = None
    nearest = min((i.transfer_s for i in instances if not is_missing(i.transfer_s)), default=0.0)
    for inst in instances:
        if inst.role == PREFILL or inst.draining or inst.starting:
            continue
        if inst.running_requests >= inst.max_num_seqs:
            continue
        if inst.kv_used_tokens + tokens > KV_MAX * inst.kv_capacity_tokens:
            continue
        value = headroom(request, inst)
        if not is_missing(inst.transfer_s) and inst.transfer_s <= 1.1 * nearest:
            value += NEAR_BONUS
        if best_value is None or value > best_value:
            best_id, best_value = inst.id, value
    return best_id
