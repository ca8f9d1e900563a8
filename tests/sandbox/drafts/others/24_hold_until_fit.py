"""Central queue: hold requests at the router until an engine has room, earliest-fit first."""

QUEUE_LIMIT = 2  # tune: 0 .. 16
HOLD_LIMIT_S = 3.0  # tune: 0.1 .. 30


def has_room(request, inst):
    need = request.prompt_tokens
    if not is_missing(request.predicted_output_tokens):
        need += request.predicted_output_tokens
    forecast = inst.kv_used_tokens if is_missing(inst.kv_predicted_tokens) else inst.kv_predicted_tokens
    return (inst.queued_requests <= QUEUE_LIMIT
            and inst.running_requests < inst.max_num_seqs
            and forecast + need <= inst.kv_capacity_tokens)


def route(request, instances, memory):
    eligible = [i for i in instances
                if not i.draining and not i.starting and i.role != DECODE]
    if not any(has_room(request, i) for i in eligible):
        too_long = request.age_s > HOLD_LIMIT_S or (request.online and not is_missing(request.ttft_slo_s)
                                                    and request.age_s > 0.5 * request.ttft_slo_s)
        if not too_long or len(eligible) == 0:
            return HOLD
        return sorted(eligible, key=lambda i: (i.queued_requests, i.queued_prompt_tokens))[0].id

    # Best fit: the fullest one that still takes it, so big holes stay open for big prompts.
    best, best_left = HOLD, 1e18
    for i in eligible:
        if has_room(request, i):
            left = i.kv_capacity_tokens - i.kv_used_tokens - request.prompt_tokens
            if left < best_left:
                best, best_left = i.id, left
    return best
