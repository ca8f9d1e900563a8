"""Route to the replica with the least work left, counting this request's own uncached prompt."""

DEFAULT_OUTPUT = 256.0  # tune: 32 .. 2048
KV_GUARD = 0.92  # tune: 0.6 .. 0.99
NO_SPEED_S = 1e6


def expected_output(request: Request) -> float:
    if is_missing(request.predicted_output_tokens):
        return DEFAULT_OUTPUT
    return max(1.0, request.predicted_output_tokens - request.done_tokens)


def work_left_s(request: Request, inst: Instance) -> float:
    prompt = max(0, request.prompt_tokens - inst.cached_prefix_tokens)
    prefill_tokens = inst.queued_prompt_tokens + inst.prefill_backlog_tokens + prompt
    prefill = ratio(prefill_tokens, inst.prefill_tokens_per_s, NO_SPEED_S)
    remaining = inst.predicted_remaining_tokens
    if is_missing(remaining):
        remaining = (inst.running_requests + inst.queued_requests) * DEFAULT_OUTPUT
    decode = ratio(remaining + expected_output(request), inst.decode_tokens_per_s, NO_SPEED_S)
    return prefill + decode


def route(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    best_id = None
    best_work = 0.0
    for inst in instances:
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        work = work_left_s(request, inst)
        if ratio(inst.kv_used_tokens, inst.kv_capacity_tokens, 1.0) > KV_GUARD:
            work *= 2.0
        if best_id is None or work < best_work:
            best_id, best_work = inst.id, work
    return HOLD if best_id is None else best_id
