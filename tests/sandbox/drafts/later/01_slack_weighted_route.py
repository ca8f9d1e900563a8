"""Route to the instance with the best TTFT slack, ties broken by KV headroom."""

KV_WEIGHT = 0.6  # tune: 0.0 .. 3.0
CACHE_WEIGHT = 1.0  # tune: 0.0 .. 2.0
FULL = 0.97  # tune: 0.85 .. 1.0


def kv_fraction(inst):
    used = inst.kv_used_tokens
    if not is_missing(inst.kv_predicted_tokens):
        used = max(used, inst.kv_predicted_tokens)
    return ratio(used, inst.kv_capacity_tokens, 1.0)


def expected_ttft(req, inst):
    uncached = max(req.prompt_tokens - CACHE_WEIGHT * inst.cached_prefix_tokens, 1)
    ahead = max(inst.queued_prompt_tokens, 0) + max(inst.prefill_backlog_tokens, 0)
    return prefill_time_s(inst, ahead + uncached)


def route(request, instances, memory):
    best_id = HOLD
    best_score = None
    slo = request.ttft_slo_s if not is_missing(request.ttft_slo_s) else 2.0
    left = slo - request.age_s
    for inst in instances:
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        frac = kv_fraction(inst)
        if frac > FULL and inst.queued_requests > 0:
            continue
        ttft = expected_ttft(request, inst)
        slack = (left - ttft) / max(slo, 0.05)
        # positive slack saturates: beyond "in time" it is memory that matters
        score = min(slack, 0.5) - KV_WEIGHT * frac
        if best_score is None or score > best_score:
            best_score, best_id = score, inst.id
    return best_id
