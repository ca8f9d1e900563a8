"""Shortlist the K least loaded instances, then take the one with most cached prefix."""

K = 3  # tune: 1 .. 6
IGNORE_BELOW = 128  # tune: 0 .. 1024


def load(inst):
    return inst.queued_prompt_tokens + inst.prefill_backlog_tokens + 0.1 * inst.context_tokens


def route(request, instances, memory):
    n = len(instances)
    loads = [0.0] * n
    for i in range(n):
        inst = instances[i]
        loads[i] = 1e15 if inst.draining or inst.starting or inst.role == DECODE else float(load(inst))
    ranks = order(loads, n)
    best = HOLD
    most = -1
    for j in range(min(K, n)):
        i = int(ranks[j])
        if loads[i] >= 1e15:
            break
        inst = instances[i]
        cached = inst.cached_prefix_tokens if inst.cached_prefix_tokens >= IGNORE_BELOW else 0
        if cached > most:
            most = cached
            best = inst.id
    return best
