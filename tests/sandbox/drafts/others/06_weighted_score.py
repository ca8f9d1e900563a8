"""Weighted sum of normalised load signals, one weight per signal."""

W_QUEUE = 1.0  # tune: 0 .. 4
W_KV = 1.5  # tune: 0 .. 4
W_PREFILL = 2.0  # tune: 0 .. 8
W_CACHE = 1.2  # tune: 0 .. 4
W_AGE = 0.1  # tune: 0 .. 1
W_TENANT = 0.2  # tune: 0 .. 2


def features(request, inst) -> tuple[float, float, float, float, float, float]:
    queue = ratio(inst.queued_requests, inst.max_num_seqs, 0.0)
    kv = ratio(inst.kv_used_tokens, inst.kv_capacity_tokens, 1.0)
    prefill = prefill_time_s(inst, inst.queued_prompt_tokens + inst.prefill_backlog_tokens)
    cache = -ratio(max(0, inst.cached_prefix_tokens), request.prompt_tokens, 0.0)
    stale = inst.signal_age_s if not is_missing(inst.signal_age_s) else 1.0
    tenant = ratio(inst.tenant_requests, inst.running_requests + inst.queued_requests, 0.0)
    return queue, kv, prefill, cache, stale, tenant


def score(request, inst) -> float:
    weights = (W_QUEUE, W_KV, W_PREFILL, W_CACHE, W_AGE, W_TENANT)
    return sum(w * f for w, f in zip(weights, features(request, inst)))


def route(request, instances, memory) -> int:
    best_id = HOLD
    best_score = 1e30
    for inst in instances:
        if inst.starting or inst.draining:
            continue
        if inst.role == DECODE:
            continue
        s = score(request, inst)
        if s < best_score:
            best_score, best_id = s, inst.id
    return best_id
