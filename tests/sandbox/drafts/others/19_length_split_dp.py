"""Cheapest mix of replicas by a DP over GPU counts; long requests get their own replicas."""

HEADROOM = 1.3  # tune: 1.0 .. 2.5
LONG_FACTOR = 2.0  # tune: 1.0 .. 6.0
LONG_SHARE = 0.2  # tune: 0.05 .. 0.5
EVERY_S = 300.0  # tune: 30 .. 3600
MAX_GPUS = 128


def should_reschedule(window, cluster, plan, memory):
    return (not window.plan_feasible) or window.capacity_changed or window.since_plan_s > EVERY_S


def pool_dp(cluster, pool_index, gpus, best, take):
    # best[g]: largest rate with g GPUs of the pool; take[g]: the shape that was added last
    best[0] = 0
    take[0] = -1
    for g in range(1, gpus + 1):
        best[g], take[g] = best[g - 1], -1
        for k, shape in enumerate(cluster.shapes):
            if shape.pool != pool_index or shape.gpus > g:
                continue
            value = best[g - shape.gpus] + shape.rate_rps
            if value > best[g] + 1e-9:
                best[g], take[g] = value, k


def cheapest_fill(best, gpus, need):
    for g in range(gpus + 1):
        if best[g] >= need:
            return g
    return gpus


def schedule(window, cluster, plan, new_plan, memory):
    total = window.classes[0]
    rate = total.rate_rps if is_missing(total.forecast_rps) else max(total.rate_rps, total.forecast_rps)
    need = HEADROOM * rate

    pools = sorted(range(len(cluster.pools)), key=lambda p: cluster.pools[p].price_usd_per_hour)
    best = zeros(MAX_GPUS + 1)
    take = zeros(MAX_GPUS + 1)
    for p in pools:
        if need <= 0:
            break
        gpus = min(MAX_GPUS, cluster.pools[p].present - cluster.pools[p].leaving)
        if gpus <= 0:
            continue
        pool_dp(cluster, p, gpus, best, take)
        g = cheapest_fill(best, gpus, need)
        need -= best[g]
        for _ in range(gpus):
            if g <= 0:
                break
            k = int(take[g])
            if k < 0:
                g -= 1
                continue
            shape = cluster.shapes[k]
            add_replica(new_plan, shape.pool, shape.tp, shape.pp, MIXED)
            g -= shape.gpus

    n = len(new_plan.replicas)
    if n == 0:
        keep_plan(new_plan, plan)
        return
    if n < 4 or is_missing(total.prompt_p95_tokens):
        return

    cut = int(LONG_FACTOR * total.prompt_mean_tokens + 1)
    n_long = max(1, int(LONG_SHARE * n))
    # widest TP takes the long ones
    by_width = sorted(range(n), key=lambda i: new_plan.replicas[i].tp, reverse=True)
    for rank, i in enumerate(by_width):
        if rank < n_long:
            set_lengths(new_plan, i, cut, 1_000_000)
        else:
            set_lengths(new_plan, i, 0, 2 * cut)
