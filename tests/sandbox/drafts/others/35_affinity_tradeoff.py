"""Route to a session's home unless its wait exceeds what recomputing the prefix elsewhere costs."""

PATIENCE = 1.3  # tune: 0.5 .. 4.0
SPREAD = 0.02  # tune: 0 .. 0.2


def wait(inst):
    pre = prefill_time_s(inst, inst.queued_prompt_tokens + inst.prefill_backlog_tokens)
    if inst.running_requests >= inst.max_num_seqs:
        # a seat must free up first
        per_seat = ratio(inst.predicted_remaining_tokens, inst.decode_tokens_per_s, 5.0)
        pre += per_seat / max(1, inst.running_requests)
    return pre


def cost(request, inst, k):
    miss = request.prompt_tokens - max(inst.cached_prefix_tokens, 0)
    return wait(inst) + prefill_time_s(inst, max(miss, 1)) + SPREAD * random01(request.seed, k)


def route(request, instances, memory):
    home = None
    best = None
    best_cost = 0
    for k, inst in enumerate(instances):
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        if inst.id == request.last_instance:
            home = inst
        c = cost(request, inst, k)
        if best is None or c < best_cost:
            best, best_cost = inst, c
    if best is None:
        return HOLD
    if home is not None and cost(request, home, 0) <= PATIENCE * best_cost:
        return home.id
    return best.id
