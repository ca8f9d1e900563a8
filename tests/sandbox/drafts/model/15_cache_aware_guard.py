"""Cache-aware routing with a load guard: best prefix hit unless its holder is too far above average."""

BALANCE_ABS = 8  # tune: 2 .. 64
BALANCE_REL = 1.5  # tune: 1.1 .. 4
HIT_MIN = 0.3  # tune: 0.05 .. 0.9


def route(request, instances, memory):
    alive = [i for i in instances if not i.draining and not i.starting and i.role != DECODE]
    if not alive:
        return HOLD

    loads = [i.queued_requests + i.running_requests for i in alive]
    lo, hi = min(loads), max(loads)
    unbalanced = hi - lo > BALANCE_ABS and hi > BALANCE_REL * lo

    if not unbalanced:
        best = max(alive, key=lambda i: i.cached_prefix_tokens)
        if best.cached_prefix_tokens >= HIT_MIN * request.prompt_tokens:
            return best.id

    # otherwise shortest line, among equals the one with the most free cache
    return min(zip(loads, alive), key=lambda p: (p[0], p[1].kv_used_tokens - p[1].kv_capacity_tokens))[1].id
