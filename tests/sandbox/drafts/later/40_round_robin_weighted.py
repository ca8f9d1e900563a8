"""Smooth weighted round robin by prefill speed, with credits kept in router memory."""


def weight(inst):
    if inst.draining or inst.starting or inst.role == DECODE:
        return 0.0
    if inst.kv_used_tokens >= inst.kv_capacity_tokens:
        return 0.0
    return inst.prefill_tokens_per_s * max(inst.share, 0.05)


def route(request, instances, memory):
    total = 0.0
    best, best_credit = None, 0.0
    for inst in instances:
        w = weight(inst)
        if w <= 0.0:
            continue
        slot = inst.id % MEMORY_SLOTS
        memory[slot] += w
        total += w
        if best is None or memory[slot] > best_credit:
            best, best_credit = inst, memory[slot]
    if best is None:
        return HOLD
    memory[best.id % MEMORY_SLOTS] -= total
    return best.id
