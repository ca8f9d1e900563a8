"""Cache-aware routing with a load-imbalance guard.

If the cluster is balanced, go where most of the prompt is cached; otherwise shortest queue.
"""

IMBALANCE_ABS = 8  # tune: 2 .. 64
IMBALANCE_REL = 1.5  # tune: 1.05 .. 4.0
HIT_SHARE = 0.3  # tune: 0.05 .. 0.9


def work(i: Instance) -> float:
    return i.queued_prompt_tokens + i.prefill_backlog_tokens + 0.1 * i.context_tokens


def route(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    best_hit, best_hit_id = -1, -1
    lightest, lightest_id = 0.0, -1
    low, high = 1_000_000, 0
    for inst in instances:
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        depth = inst.queued_requests + inst.running_requests
        low = min(low, depth)
        high = max(high, depth)
        if inst.cached_prefix_tokens > best_hit:
            best_hit, best_hit_id = inst.cached_prefix_tokens, inst.id
        w = work(inst)
        if lightest_id < 0 or w < lightest:
            lightest, lightest_id = w, inst.id

    if lightest_id < 0:
        return HOLD
    imbalanced = high - low > IMBALANCE_ABS and high > IMBALANCE_REL * low
    if imbalanced:
        return lightest_id
    if best_hit >= HIT_SHARE * max(1, request.prompt_tokens):
        return best_hit_id
    return lightest_id
