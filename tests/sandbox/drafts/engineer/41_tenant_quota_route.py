"""Tenant-aware spread: penalise instances where this tenant already holds more than its fair share."""

FAIR_W = 1.5  # tune: 0 .. 10
QUEUE_W = 1.0  # tune: 0 .. 10
HIT_W = 2.0  # tune: 0 .. 10
HOG_LIMIT = 0.75  # tune: 0.2 .. 1.0


def over_fair(inst):
    total = inst.queued_requests + inst.running_requests
    fair = total / max(1, inst.tenant_count)
    return max(0.0, inst.tenant_requests - fair) / max(1.0, fair)


def route(request, instances, memory):
    total = mine = 0
    scores = []
    for inst in instances:
        if inst.role == DECODE or inst.draining or inst.starting:
            continue
        total += inst.queued_requests
        mine += inst.tenant_requests
        q = inst.queued_requests / max(1, inst.max_num_seqs)
        hit = ratio(max(0, inst.cached_prefix_tokens), request.prompt_tokens, 0.0)
        scores.append((FAIR_W * over_fair(inst) + QUEUE_W * q - HIT_W * hit, inst.queued_requests, inst.id))
    if not scores:
        return HOLD
    if total > 0 and mine > HOG_LIMIT * (total + len(scores)) and request.held_count < 5 and not request.online:
        return HOLD
    scores.sort()
    return scores[0][2]
