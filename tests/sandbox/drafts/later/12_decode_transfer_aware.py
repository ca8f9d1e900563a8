"""Disaggregated: prefill by shortest backlog, decode by step-time slack net of KV transfer."""

KV_LIMIT = 0.95  # tune: 0.7 .. 1.0
TRANSFER_WEIGHT = 1.0  # tune: 0.1 .. 5.0
DEFAULT_OUT = 300.0  # tune: 50 .. 1000


def open_for_work(inst):
    return not inst.draining and not inst.starting


def route(request, instances, memory):
    best, best_t = None, 0.0
    for inst in instances:
        if not open_for_work(inst) or inst.role == DECODE:
            continue
        tokens = inst.queued_prompt_tokens + inst.prefill_backlog_tokens
        tokens += max(request.prompt_tokens - inst.cached_prefix_tokens, 0)
        t = prefill_time_s(inst, tokens)
        if not is_missing(inst.handoff_s):
            t += inst.handoff_s
        if best is None or t < best_t:
            best, best_t = inst, t
    return HOLD if best is None else best.id


def route_decode(request, instances, memory):
    out = DEFAULT_OUT if is_missing(request.predicted_output_tokens) else request.predicted_output_tokens
    choices = []
    for inst in instances:
        if not open_for_work(inst) or inst.role == PREFILL:
            continue
        need = inst.kv_used_tokens + request.prompt_tokens + out
        if need > KV_LIMIT * inst.kv_capacity_tokens:
            continue
        step = step_time_s(inst, inst.decoding_requests + 1, inst.context_tokens + request.prompt_tokens)
        cost = TRANSFER_WEIGHT * inst.transfer_s + out * step
        late = 0
        if not is_missing(request.tpot_slo_s) and step > request.tpot_slo_s:
            late = 1
        choices.append((late, cost, inst.id))
    if len(choices) == 0:
        return HOLD
    late, cost, chosen = min(choices)
    return chosen
