"""HexAGenT: each ready call goes where its workflow is least at risk, and queues by that risk.

Paper: HexAGenT (arXiv 2605.16637).
Taken from the abstract: calls of an online-revealed graph on prefill and decode instances of unlike
GPUs; placement looks at prefill, KV transfer, KV room and decode together; the local queue order is
the projected risk of missing a running standalone horizon, the time the workflow would need alone.
Inferred: risk as slack to a multiple of the horizon, the finish estimate, the waits for KV room and
for a seat in the batch, and the pair being chosen in two steps (the prefill instance with the best
hand-off it can offer, then the decode instance when prefill is done), for the contract asks for one
instance at a time.
"""

SLO_SCALE = 1.5  # tune: 1 .. 10
LOOSE_SLACK_S = 30.0  # tune: 1 .. 600
UNKNOWN_TOKENS = 256.0  # tune: 16 .. 4096
KV_FULL = 0.95  # tune: 0.6 .. 1.0


def output_tokens(request):
    if is_missing(request.predicted_output_tokens):
        return max(UNKNOWN_TOKENS - request.done_tokens, 1.0)
    return max(request.predicted_output_tokens - request.done_tokens, 1.0)


def prefill_finish_s(request, inst):
    cached = max(inst.cached_prefix_tokens, 0)
    ahead = max(inst.queued_prompt_tokens, 0) + max(inst.prefill_backlog_tokens, 0)
    return prefill_time_s(inst, ahead + max(request.prompt_tokens - cached, 1))


def batch_with(inst):
    others = max(inst.decoding_requests, 0) + max(inst.queued_requests, 0)
    if inst.max_num_seqs <= 0:
        return others + 1.0
    return clip(others + 1, 1, inst.max_num_seqs)


def decode_s(request, inst):
    context = inst.context_tokens + request.prompt_tokens
    return output_tokens(request) * step_time_s(inst, batch_with(inst), context)


def seat_wait_s(inst):
    # Who finds the batch full waits until those before it are out, one departure each.
    others = max(inst.decoding_requests, 0) + max(inst.queued_requests, 0)
    seats = inst.max_num_seqs
    if seats <= 0 or others < seats:
        return 0.0
    left = ratio(inst.predicted_remaining_tokens, others, UNKNOWN_TOKENS)
    if is_missing(left):
        left = 0.5 * UNKNOWN_TOKENS
    step_s = step_time_s(inst, batch_with(inst), inst.context_tokens)
    return (others + 1 - seats) / seats * left * step_s


def kv_wait_s(request, inst):
    # Room appears as running requests end: assume they leave evenly over what they still need.
    need = request.prompt_tokens + request.done_tokens + output_tokens(request)
    over = inst.kv_used_tokens + need - KV_FULL * inst.kv_capacity_tokens
    if over <= 0.0 or inst.decoding_requests <= 0:
        return 0.0
    left = ratio(inst.predicted_remaining_tokens, inst.decoding_requests, UNKNOWN_TOKENS)
    step_s = step_time_s(inst, inst.decoding_requests, inst.context_tokens)
    return ratio(over, inst.kv_used_tokens, 1.0) * left * step_s


def wait_s(request, inst):
    return max(kv_wait_s(request, inst), seat_wait_s(inst))


def route(request, instances, memory):
    best, soonest = instances[0].id, INF
    for inst in instances:
        finish = prefill_finish_s(request, inst)
        if inst.role == PREFILL:
            if not is_missing(inst.handoff_s):
                finish += inst.handoff_s
        else:
            finish += wait_s(request, inst) + decode_s(request, inst)
        if finish < soonest:
            best, soonest = inst.id, finish
    return best


def route_decode(request, instances, memory):
    best, soonest = instances[0].id, INF
    for inst in instances:
        finish = wait_s(request, inst) + decode_s(request, inst)
        if not is_missing(inst.transfer_s):
            finish += inst.transfer_s
        if finish < soonest:
            best, soonest = inst.id, finish
    return best


def priority(request, instance, memory):
    # Seconds to spare: the smallest slack is the greatest risk and runs first.
    alone_s = prefill_time_s(instance, request.prompt_tokens) + decode_s(request, instance)
    slack = request.deadline_s - alone_s
    if not is_missing(request.workflow_horizon_s):
        left_s = request.workflow_remaining_s
        if is_missing(left_s):
            left_s = alone_s
        slack = SLO_SCALE * request.workflow_horizon_s - request.workflow_age_s - left_s
    if is_missing(slack):
        return LOOSE_SLACK_S - request.age_s
    return slack
