"""Route where the request hurts least: own completion plus the slowdown it brings to the batch."""

HARM_WEIGHT = 0.3  # tune: 0 .. 3
KV_HARM_S = 10.0  # tune: 0 .. 100
DEFAULT_TOKENS = 256.0
STALE_S = 5.0  # tune: 0.5 .. 60


def predicted(request: Request) -> float:
    p = request.predicted_output_tokens
    return DEFAULT_TOKENS if is_missing(p) else max(1.0, p)


def harm_s(request: Request, inst: Instance) -> float:
    """Seconds added, summed over everyone running there."""
    out = predicted(request)
    context = request.prompt_tokens + 0.5 * out
    before = step_time_s(inst, inst.running_requests, inst.context_tokens)
    after = step_time_s(inst, inst.running_requests + 1, inst.context_tokens + context)
    others = inst.decoding_requests
    # they overlap for at most the shorter of the two remaining lives
    theirs = inst.predicted_remaining_tokens
    mean_left = out if is_missing(theirs) else ratio(theirs, inst.running_requests + inst.queued_requests, out)
    slow_decode = (after - before) * min(out, mean_left) * others
    stall = prefill_time_s(inst, max(0, request.prompt_tokens - max(0, inst.cached_prefix_tokens)))
    return slow_decode + 0.2 * stall * others


def overflow_s(request: Request, inst: Instance) -> float:
    used = inst.kv_predicted_tokens
    if is_missing(used):
        used = float(inst.kv_used_tokens)
    after = used + request.prompt_tokens + predicted(request)
    over = after / max(1, inst.kv_capacity_tokens) - 1.0
    return KV_HARM_S * over if over > 0 else 0.0


def route(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    best = None
    for inst in instances:
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        if not is_missing(inst.grace_s) and inst.grace_s < completion_s(request, inst):
            continue
        own = completion_s(request, inst)
        total = request.weight * own + HARM_WEIGHT * harm_s(request, inst) + overflow_s(request, inst)
        if inst.signal_age_s > STALE_S:
            total *= 1.2
        if best is None or total < best[0]:
            best = total, inst.id
    return HOLD if best is None else best[1]
