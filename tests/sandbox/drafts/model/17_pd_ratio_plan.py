"""P/D ratio planning: split the GPUs of each pool by the prefill and decode seconds of the traffic."""

PREFILL_BIAS = 1.0  # tune: 0.5 .. 2.0
REPLAN_S = 300.0  # tune: 60 .. 1800
SHIFT = 0.15  # tune: 0.02 .. 0.5
LAST_SHARE = 0


def prefill_share(window, shape):
    c = window.classes[0]
    prompt = c.prompt_mean_tokens
    if is_missing(prompt) or is_missing(shape.rate_rps) or shape.rate_rps <= 0:
        return 0.5
    reuse = 0.0 if is_missing(c.reuse) else c.reuse
    prefill_s = prompt * (1.0 - reuse) / max(shape.prefill_tokens_per_s, 1.0)
    total_s = 1.0 / shape.rate_rps
    return clip(PREFILL_BIAS * prefill_s / total_s, 0.1, 0.9)


def pick(cluster, pool):
    found = None
    for s in cluster.shapes:
        if s.pool == pool and s.fits_now > 1:
            if found is None or s.rate_rps * found.gpus > found.rate_rps * s.gpus:
                found = s
    return found


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible or window.capacity_changed:
        return True
    if window.since_plan_s < REPLAN_S or len(cluster.shapes) == 0:
        return False
    best = pick(cluster, 0)
    if best is None:
        return False
    return abs(prefill_share(window, best) - memory[LAST_SHARE]) > SHIFT


def schedule(window, cluster, plan, new_plan, memory):
    any_built = False
    for p, pool in enumerate(cluster.pools):
        s = pick(cluster, p)
        if s is None:
            continue
        n = (pool.free + pool.in_use) // s.gpus
        if n < 1:
            continue
        if n == 1:
            add_replica(new_plan, p, s.tp, s.pp, MIXED)
            any_built = True
            continue
        share = prefill_share(window, s)
        memory[LAST_SHARE] = share
        n_prefill = min(n - 1, max(1, round(share * n)))
        for k in range(n):
            add_replica(new_plan, p, s.tp, s.pp, PREFILL if k < n_prefill else DECODE)
        any_built = True
    if not any_built:
        keep_plan(new_plan, plan)
