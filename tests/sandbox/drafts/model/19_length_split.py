"""Length-split cluster: short and long prompts on their own replicas, sized by their token load."""

SPLIT_QUANTILE_WEIGHT = 0.5  # tune: 0.1 .. 0.9
MAX_LEN = 1048576
LONG_LOAD = 0.5  # tune: 0.1 .. 0.8
PERIOD_S = 600.0  # tune: 120 .. 3600


def split_point(row: ClassRow) -> int:
    mean = row.prompt_mean_tokens
    p95 = row.prompt_p95_tokens
    if is_missing(mean) or is_missing(p95):
        return 4096
    return max(256, round(mean + SPLIT_QUANTILE_WEIGHT * (p95 - mean)))


def efficiency(s: Shape) -> float:
    return ratio(s.rate_rps, s.gpus, 0.0)


def should_reschedule(window: Window, cluster: Cluster, plan: Plan, memory: Memory) -> bool:
    return not window.plan_feasible or window.capacity_changed or window.since_plan_s > PERIOD_S


def schedule(window: Window, cluster: Cluster, plan: Plan, new_plan: Plan, memory: Memory) -> None:
    cut = split_point(window.classes[0])
    placed = 0
    for p in range(len(cluster.pools)):
        shapes = [s for s in cluster.shapes if s.pool == p and s.fits_now > 0]
        if not shapes:
            continue
        small = max(shapes, key=efficiency)
        roomy = [s for s in shapes if s.kv_capacity_tokens >= 4 * cut]
        big = max(roomy, key=lambda s: s.prefill_tokens_per_s) if roomy else small

        gpus = cluster.pools[p].free + cluster.pools[p].in_use
        n_big = int(LONG_LOAD * gpus / big.gpus)
        left = gpus - n_big * big.gpus
        n_small = left // small.gpus
        alone = n_big == 0 or n_small == 0

        for _ in range(n_big):
            i = add_replica(new_plan, p, big.tp, big.pp, MIXED)
            if i >= 0 and not alone:
                set_lengths(new_plan, i, cut + 1, MAX_LEN)
        for _ in range(n_small):
            i = add_replica(new_plan, p, small.tp, small.pp, MIXED)
            if i >= 0 and not alone:
                set_lengths(new_plan, i, 0, cut)
        placed += n_big + n_small
    if placed == 0:
        keep_plan(new_plan, plan)


def route(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    inside, outside = [], []
    for x in instances:
        if x.draining or x.starting or x.role == DECODE:
            continue
        if x.length_low_tokens <= request.prompt_tokens <= x.length_high_tokens:
            inside.append(x)
        else:
            outside.append(x)
    pool = inside or outside
    if not pool:
        return HOLD
    return min(pool, key=lambda x: completion_s(request, x)).id
