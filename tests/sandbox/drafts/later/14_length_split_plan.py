"""Split the cluster by length: small TP replicas for short requests, big ones for the long tail."""

SPLIT_FACTOR = 1.0  # tune: 0.5 .. 2.0
LONG_SHARE_MIN = 0.1  # tune: 0.05 .. 0.5
LONG_LIMIT = 10_000_000


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible or window.capacity_changed:
        return True
    # the split point drifted
    return window.since_plan_s > 600 and abs(split_point(window) - memory[0]) > 0.3 * max(memory[0], 1.0)


def split_point(window):
    row = window.classes[0]
    mean = row.prompt_mean_tokens + row.output_mean_tokens
    p95 = row.prompt_p95_tokens + row.output_p95_tokens
    if is_missing(mean) or is_missing(p95):
        return 4096.0
    return SPLIT_FACTOR * sqrt(mean * p95)


def pick(cluster, pool, budget, want_long):
    rows = [s for s in cluster.shapes if s.pool == pool and 0 < s.gpus <= budget and s.rate_rps > 0]
    if not rows:
        return None
    if want_long:
        return max(rows, key=lambda s: (s.kv_capacity_tokens, -s.latency_s))
    return max(rows, key=lambda s: s.rate_rps / s.gpus)


def schedule(window, cluster, plan, new_plan, memory):
    cut = int(split_point(window))
    memory[0] = cut
    for p, pool in enumerate(cluster.pools):
        gpus = pool.present - pool.leaving
        if gpus <= 0:
            continue
        long_gpus = ceil(gpus * LONG_SHARE_MIN)
        shape = pick(cluster, p, gpus, True)
        if shape is not None:
            count = max(1, long_gpus // shape.gpus)
            for _ in range(count):
                if gpus < shape.gpus:
                    break
                idx = add_replica(new_plan, p, shape.tp, shape.pp, MIXED)
                if idx < 0:
                    return
                set_lengths(new_plan, idx, cut, LONG_LIMIT)
                gpus -= shape.gpus
        small = pick(cluster, p, gpus, False)
        if small is None:
            continue
        for _ in range(gpus // small.gpus):
            idx = add_replica(new_plan, p, small.tp, small.pp, MIXED)
            if idx < 0:
                return
            set_lengths(new_plan, idx, 0, cut)
    if len(new_plan.replicas) == 0:
        keep_plan(new_plan, plan)


def route(request, instances, memory):
    out = 256.0 if is_missing(request.predicted_output_tokens) else request.predicted_output_tokens
    length = request.prompt_tokens + out
    fit = [i for i in instances if i.length_low_tokens <= length <= i.length_high_tokens and not i.draining and not i.starting]
    if not fit:
        fit = [i for i in instances if not i.draining and not i.starting]
    if not fit:
        return HOLD
    return min(fit, key=lambda i: completion_s(request, i)).id
