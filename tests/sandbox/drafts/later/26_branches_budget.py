"""Fewer samples under load; stop samples whose score falls a gap behind the leader."""

GAP = 0.25  # tune: 0.05 .. 2.0
WARMUP = 48  # tune: 8 .. 256
KV_BUSY = 0.8  # tune: 0.4 .. 0.99


def branches(request, branches, memory):
    n = max(1, request.branch_count)
    if len(branches) == 0:
        # start: memory[0] holds a load estimate that admit() keeps
        if memory[0] > KV_BUSY and not request.online:
            return max(1, n // 2)
        return n
    leader = None
    for b in branches:
        if is_missing(b.score) or b.pruned:
            continue
        if leader is None or b.score > leader:
            leader = b.score
    if leader is None:
        return n
    stopped = 0
    for b in branches:
        if b.pruned:
            stopped += 1
        elif not b.finished and b.done_tokens >= WARMUP and not is_missing(b.score) and b.score < leader - GAP:
            if stopped < n - 1:
                prune(b)
                stopped += 1
    return max(1, n - stopped)


def admit(request, instance, memory):
    load = ratio(instance.kv_used_tokens, instance.kv_capacity_tokens, 0.0)
    memory[0] = 0.9 * memory[0] + 0.1 * load
    return load < 0.98 or instance.running_requests == 0
