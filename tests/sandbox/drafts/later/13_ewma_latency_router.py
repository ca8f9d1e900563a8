"""EWMA of each instance's load in router memory, so stale signals do not herd requests."""

ALPHA = 0.3  # tune: 0.05 .. 0.9
STALE_S = 0.5  # tune: 0.05 .. 5
JITTER = 0.05  # tune: 0 .. 0.3


def slot_for(inst_id: int) -> int:
    return inst_id % 64


def raw_load(inst) -> float:
    work = prefill_time_s(inst, inst.queued_prompt_tokens + inst.prefill_backlog_tokens)
    batch = ratio(inst.running_requests, inst.max_num_seqs, 1.0)
    kv = ratio(inst.kv_used_tokens, inst.kv_capacity_tokens, 1.0)
    return work + 0.5 * batch + kv * kv


def route(request, instances, memory) -> int:
    best: int = HOLD
    best_cost: float = 1e18
    for k, inst in enumerate(instances):
        s: int = slot_for(inst.id)
        fresh = raw_load(inst)
        trust = ALPHA if inst.signal_age_s > STALE_S else min(1.0, 2 * ALPHA)
        smooth = memory[s] + trust * (fresh - memory[s])
        memory[s] = smooth
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        own = prefill_time_s(inst, max(0, request.prompt_tokens - inst.cached_prefix_tokens))
        cost = (smooth + own) * (1.0 + JITTER * random01(request.seed, k))
        if cost < best_cost:
            best_cost = cost
            best = inst.id
    if best != HOLD:
        memory[slot_for(best)] += 0.05
    return best
