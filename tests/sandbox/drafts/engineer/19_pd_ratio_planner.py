"""Prefill/decode split: pick the share of prefill replicas from the prompt and output token rates."""

MIN_SHARE = 0.15  # tune: 0.05 .. 0.4
MAX_SHARE = 0.7  # tune: 0.4 .. 0.95
DECODE_COST = 6.0  # tune: 1 .. 40
HYSTERESIS = 0.1  # tune: 0.01 .. 0.4
SMALL_CLUSTER = 3


def wanted_share(window):
    c = window.classes[0]
    reuse = 0.0 if is_missing(c.reuse) else c.reuse
    prefill_work = c.prompt_mean_tokens * (1.0 - reuse)
    decode_work = DECODE_COST * c.output_mean_tokens
    return clip(ratio(prefill_work, prefill_work + decode_work, 0.3), MIN_SHARE, MAX_SHARE)


def present_share(plan):
    n = len(plan.replicas)
    if n == 0:
        return 0.0
    return sum(1 for r in plan.replicas if r.role == PREFILL) / n


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible or window.capacity_changed:
        return True
    if window.classes[0].requests < 20:
        return False
    return abs(wanted_share(window) - present_share(plan)) > HYSTERESIS


def best_shape(cluster, pool, for_prefill):
    best, best_value = None, 0.0
    for s in cluster.shapes:
        if s.pool != pool or s.fits_now < 1:
            continue
        speed = s.prefill_tokens_per_s if for_prefill else s.rate_rps
        value = speed / s.gpus
        if value > best_value:
            best, best_value = s, value
    return best


def schedule(window, cluster, plan, new_plan, memory):
    share = wanted_share(window)
    for p, pool in enumerate(cluster.pools):
        gpus = pool.present - pool.leaving
        pre, dec = best_shape(cluster, p, True), best_shape(cluster, p, False)
        if pre is None or dec is None:
            continue
        if gpus < SMALL_CLUSTER * max(pre.gpus, dec.gpus):
            for _ in range(gpus // dec.gpus):
                add_replica(new_plan, p, dec.tp, dec.pp, MIXED)
            continue
        n_prefill = max(1, round(share * gpus / pre.gpus))
        n_decode = (gpus - n_prefill * pre.gpus) // dec.gpus
        if n_decode < 1:
            n_prefill, n_decode = n_prefill - 1, 1
        for _ in range(n_prefill):
            add_replica(new_plan, p, pre.tp, pre.pp, PREFILL)
        for _ in range(n_decode):
            add_replica(new_plan, p, dec.tp, dec.pp, DECODE)
    if len(new_plan.replicas) == 0:
        keep_plan(new_plan, plan)
