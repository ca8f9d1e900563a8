"""Weighted sum of normalised signals: queue, KV, cache hit, tightest TPOT, transfer."""

W_QUEUE = 1.0  # tune: 0 .. 4
W_KV = 0.8  # tune: 0 .. 4
W_HIT = 1.5  # tune: 0 .. 6
W_TPOT = 0.7  # tune: 0 .. 4
W_OFFLINE = 0.2  # tune: 0 .. 2
W_LENGTH = 0.5  # tune: 0 .. 4
QUEUE_SCALE_S = 2.0  # tune: 0.1 .. 20


def tpot_excess(request, inst):
    """How far the next step time would overshoot the tightest target, as a ratio."""
    slo = request.tpot_slo_s
    if is_missing(slo) or (not is_missing(inst.tpot_slo_s) and inst.tpot_slo_s < slo):
        slo = inst.tpot_slo_s
    if is_missing(slo):
        return 0.0
    step = step_time_s(inst, inst.running_requests + 1, inst.context_tokens + request.prompt_tokens)
    return clip(step / max(slo, 1e-6) - 1.0, 0.0, 2.0)


def route(request, instances, memory):
    best_id, best_score = HOLD, None
    prompt = max(1, request.prompt_tokens)
    for inst in instances:
        if inst.role == DECODE or inst.draining:
            continue
        queue_s = prefill_time_s(inst, inst.queued_prompt_tokens + inst.prefill_backlog_tokens)
        kv = ratio(inst.kv_used_tokens, inst.kv_capacity_tokens, 1.0)
        hit = clip(inst.cached_prefix_tokens / prompt, 0.0, 1.0)
        in_range = inst.length_low_tokens <= request.prompt_tokens <= inst.length_high_tokens
        terms = (
            (W_QUEUE, queue_s / QUEUE_SCALE_S),
            (W_KV, kv * kv),
            (W_HIT, -hit),
            (W_TPOT, tpot_excess(request, inst)),
            (W_OFFLINE, ratio(inst.offline_requests, inst.running_requests, 0.0)),
            (W_LENGTH, 0.0 if in_range else 1.0),
        )
        score = sum(w * x for w, x in terms)
        if inst.starting:
            score += 10.0
        if best_score is None or score < best_score:
            best_id, best_score = inst.id, score
    return best_id
