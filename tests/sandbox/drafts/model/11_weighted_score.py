"""Weighted sum of normalised signals: queue, KV, prefix cache, step time and wait."""

W_QUEUE = 1.0  # tune: 0 .. 4
W_KV = 0.8  # tune: 0 .. 4
W_CACHE = 1.4  # tune: 0 .. 4
W_STEP = 0.3  # tune: 0 .. 4
W_WAIT = 0.5  # tune: 0 .. 4
STALE_S = 2.0  # tune: 0.1 .. 10


def features(request, x):
    queue = (x.queued_requests + x.running_requests) / max(x.max_num_seqs, 1)
    kv = ratio(x.kv_used_tokens, x.kv_capacity_tokens, 1.0)
    cache = x.cached_prefix_tokens / max(request.prompt_tokens, 1)
    step = 0.0 if is_missing(x.step_time_s) else x.step_time_s
    wait = 0.0 if is_missing(x.oldest_wait_s) else x.oldest_wait_s
    return queue, kv, cache, step, wait


def route(request, instances, memory):
    ok = [x for x in instances if x.role != DECODE and not x.starting and not x.draining]
    if len(ok) == 0:
        return HOLD
    rows = [features(request, x) for x in ok]
    top_step = max(r[3] for r in rows)
    top_wait = max(r[4] for r in rows)
    best, best_cost = ok[0].id, None
    for x, (queue, kv, cache, step, wait) in zip(ok, rows):
        cost = W_QUEUE * queue + W_KV * kv ** 2 - W_CACHE * cache
        cost += W_STEP * ratio(step, top_step, 0.0) + W_WAIT * ratio(wait, top_wait, 0.0)
        # distrust old signals a bit
        cost += 0.1 * min(1.0, x.signal_age_s / STALE_S)
        if best_cost is None or cost < best_cost:
            best, best_cost = x.id, cost
    return best
