"""Decode choice: transfer time plus the slow-down that joining the batch causes, KV-checked."""

DISTURB = 0.5  # tune: 0 .. 2
KV_MARGIN = 0.95  # tune: 0.7 .. 1.0
MAX_HOLDS = 20  # tune: 1 .. 200


def tokens_to_come(request) -> float:
    p = request.predicted_output_tokens
    return 256.0 if is_missing(p) else max(1.0, p - request.done_tokens)


def room(inst, need) -> bool:
    used = inst.kv_used_tokens
    if not is_missing(inst.kv_predicted_tokens):
        used = max(used, inst.kv_predicted_tokens)
    return used + need <= KV_MARGIN * inst.kv_capacity_tokens


def delay(request, inst, out):
    b = inst.decoding_requests
    ctx = inst.context_tokens
    before = step_time_s(inst, max(1, b), ctx)
    after = step_time_s(inst, b + 1, ctx + request.prompt_tokens)
    move = 0.0 if is_missing(inst.transfer_s) else inst.transfer_s
    others = DISTURB * b * (after - before) * out
    return move + after * out + others


def route_decode(request, instances, memory):
    out = tokens_to_come(request)
    need = request.prompt_tokens + out
    best, chosen = None, HOLD
    fallback, fallback_kv = HOLD, 2.0
    for inst in instances:
        if inst.draining or inst.starting or inst.role == PREFILL:
            continue
        fill = ratio(inst.kv_used_tokens, inst.kv_capacity_tokens, 1.0)
        if fill < fallback_kv:
            fallback, fallback_kv = inst.id, fill
        if not room(inst, need) or inst.running_requests >= inst.max_num_seqs:
            continue
        d = delay(request, inst, out)
        if best is None or d < best:
            best = d
            chosen = inst.id
    if chosen == HOLD and request.held_count >= MAX_HOLDS:
        return fallback
    return chosen
