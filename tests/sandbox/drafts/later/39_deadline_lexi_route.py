"""Lexicographic routing: meet the SLO, avoid preemption, then reuse cache, then balance."""

KV_SAFE = 0.9  # tune: 0.6 .. 1.0
OUT_DEFAULT = 256.0
CACHE_STEP = 256  # tune: 64 .. 2048


def predicted_out(request):
    p = request.predicted_output_tokens
    return OUT_DEFAULT if is_missing(p) else p


def rank(request, inst):
    out = predicted_out(request)
    ttft = prefill_time_s(inst, inst.queued_prompt_tokens + inst.prefill_backlog_tokens
                          + max(0, request.prompt_tokens - inst.cached_prefix_tokens))
    misses = int(request.age_s + ttft > request.ttft_slo_s) + int(
        step_time_s(inst, inst.running_requests + 1, inst.context_tokens + request.prompt_tokens) > request.tpot_slo_s)
    future = inst.kv_predicted_tokens
    if is_missing(future):
        future = inst.kv_used_tokens
    risky = future + request.prompt_tokens + out > KV_SAFE * inst.kv_capacity_tokens
    cache_bucket = inst.cached_prefix_tokens // CACHE_STEP
    return (misses, int(risky), -cache_bucket, ttft)


def route(request, instances, memory):
    alive = [i for i in instances if not (i.draining or i.starting or i.role == DECODE)]
    if not alive:
        return HOLD
    ranked = sorted(alive, key=lambda i: rank(request, i))
    first = ranked[0]
    # offline work waits rather than preempting somebody
    if not request.online and rank(request, first)[1] == 1 and request.held_count < 50:
        return HOLD
    return first.id
