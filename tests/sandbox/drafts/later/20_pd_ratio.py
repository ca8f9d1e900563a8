"""Choose the prefill to decode ratio from token demand, relabel replicas before moving GPUs."""

DRIFT = 0.25  # tune: 0.05 .. 1.0
COOL_S = 180.0  # tune: 30 .. 900
DECODE_BIAS = 1.1  # tune: 0.5 .. 2.0

LAST_FRACTION = 0


def wanted_fraction(window, cluster):
    """Share of GPUs that should prefill."""
    row = window.classes[0]
    if is_missing(row.prompt_mean_tokens) or is_missing(row.output_mean_tokens):
        return 0.5
    reuse = 0.0 if is_missing(row.reuse) else row.reuse
    prompt = row.prompt_mean_tokens * (1.0 - reuse)
    speeds = [s.prefill_tokens_per_s / s.gpus for s in cluster.shapes if s.gpus > 0]
    if not speeds:
        return 0.5
    pf = sum(speeds) / len(speeds)
    prefill_s = ratio(prompt, pf, 0.0)
    rates = [s.rate_rps / s.gpus for s in cluster.shapes if s.rate_rps > 0]
    if not rates:
        return 0.5
    total_s = len(rates) / sum(rates)
    decode_s = max(total_s - prefill_s, 0.05 * total_s) * DECODE_BIAS
    return clip(prefill_s / (prefill_s + decode_s), 0.1, 0.9)


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible:
        return True
    if window.since_plan_s < COOL_S:
        return False
    frac = wanted_fraction(window, cluster)
    return abs(frac - memory[LAST_FRACTION]) > DRIFT * max(memory[LAST_FRACTION], 0.1) or window.capacity_changed


def schedule(window, cluster, plan, new_plan, memory):
    frac = wanted_fraction(window, cluster)
    memory[LAST_FRACTION] = frac
    shapes = []
    for p, pool in enumerate(cluster.pools):
        left = pool.present - pool.leaving
        cands = [s for s in cluster.shapes if s.pool == p and s.fits_now > 0]
        if not cands:
            continue
        best = max(cands, key=lambda s: s.rate_rps / s.gpus)
        for _ in range(left // best.gpus):
            shapes.append(best)
    n = len(shapes)
    if n < 2:
        for s in shapes:
            add_replica(new_plan, s.pool, s.tp, s.pp, MIXED)
        return
    n_prefill = min(max(1, round(frac * n)), n - 1)
    # strongest compute prefills
    shapes.sort(key=lambda s: -s.prefill_tokens_per_s / s.gpus)
    for i, s in enumerate(shapes):
        add_replica(new_plan, s.pool, s.tp, s.pp, PREFILL if i < n_prefill else DECODE)


def route(request, instances, memory):
    rows = [i for i in instances if i.role != DECODE and not i.draining and not i.starting]
    if not rows:
        return HOLD
    best = min(rows, key=lambda i: prefill_time_s(i, i.queued_prompt_tokens + i.prefill_backlog_tokens + request.prompt_tokens - i.cached_prefix_tokens))
    return best.id


def route_decode(request, instances, memory):
    rows = [i for i in instances if i.role != PREFILL and not i.draining and not i.starting]
    rows = [i for i in rows if i.kv_used_tokens + request.prompt_tokens < i.kv_capacity_tokens]
    if not rows:
        return HOLD
    return min(rows, key=lambda i: i.transfer_s + ratio(i.kv_used_tokens, i.kv_capacity_tokens, 1.0)).id
