"""Split the fleet into prefill and decode replicas by the ratio of their work.

The share of prefill GPUs follows prompt time against output time of the window's traffic; changes
of the ratio smaller than one replica are ignored (hysteresis).
"""

MIN_PREFILL = 1
MIN_DECODE = 1
SMOOTH = 0.3  # tune: 0.05 .. 1.0
DRIFT = 0.12  # tune: 0.03 .. 0.5
DECODE_WEIGHT = 8.0  # tune: 1 .. 40
COOLDOWN_S = 90  # tune: 15 .. 600

M_SHARE = 0
M_VALID = 1
M_USED = 2


def prefill_share(window: Window) -> float:
    row = window.classes[0]
    p = row.prompt_mean_tokens
    o = row.output_mean_tokens
    if is_missing(p) or is_missing(o):
        return 0.5
    reuse = 0.0 if is_missing(row.reuse) else row.reuse
    pre = p * (1.0 - reuse)
    return clip(ratio(pre, pre + DECODE_WEIGHT * o, 0.5), 0.1, 0.9)


def best_shape(cluster: Cluster, pool: int):
    top = None
    for s in cluster.shapes:
        if s.pool != pool or s.fits_now < 1:
            continue
        if top is None or s.rate_rps / s.gpus > top.rate_rps / top.gpus:
            top = s
    return top


def should_reschedule(window: Window, cluster: Cluster, plan: Plan, memory: Memory) -> bool:
    x = prefill_share(window)
    if memory[M_VALID] < 0.5:
        memory[M_SHARE], memory[M_VALID] = x, 1.0
    else:
        memory[M_SHARE] = SMOOTH * x + (1 - SMOOTH) * memory[M_SHARE]
    if not window.plan_feasible or len(plan.replicas) == 0:
        return True
    return window.since_plan_s > COOLDOWN_S and abs(memory[M_SHARE] - memory[M_USED]) > DRIFT


def schedule(window: Window, cluster: Cluster, plan: Plan, new_plan: Plan, memory: Memory) -> None:
    share = memory[M_SHARE] if memory[M_VALID] else prefill_share(window)
    slots = []
    for index, pool in enumerate(cluster.pools):
        s = best_shape(cluster, index)
        if s is None:
            continue
        n = (pool.present - pool.leaving) // s.gpus
        slots += [s] * n
    total = len(slots)
    if total == 0:
        keep_plan(new_plan, plan)
        return
    if total < MIN_PREFILL + MIN_DECODE:
        for s in slots:
            add_replica(new_plan, s.pool, s.tp, s.pp, MIXED)
        return

    n_prefill = int(clip(round(share * total), MIN_PREFILL, total - MIN_DECODE))
    # compute-rich shapes prefill, the others decode
    ranked = sorted(slots, key=lambda s: -s.prefill_tokens_per_s)
    for i, s in enumerate(ranked):
        add_replica(new_plan, s.pool, s.tp, s.pp, PREFILL if i < n_prefill else DECODE)
    memory[M_USED] = share
