"""Plan homogeneous mixed replicas: best rate per GPU shape in each pool, as many as the load needs."""

TARGET_UTIL = 0.75  # tune: 0.4 .. 0.95
MIN_REPLICAS = 1
DRIFT = 0.3  # tune: 0.05 .. 1.0
COOLDOWN_S = 120.0  # tune: 30 .. 900


def demand(window: Window) -> float:
    total = window.classes[0]
    rate = total.forecast_rps
    if is_missing(rate):
        rate = total.rate_rps
    if is_missing(rate):
        return 0.0
    return rate / TARGET_UTIL


def best_shape(cluster: Cluster, pool_index: int) -> int:
    best, best_eff = -1, 0.0
    for k, shape in enumerate(cluster.shapes):
        if shape.pool != pool_index or shape.fits_now < 1 or is_missing(shape.rate_rps):
            continue
        eff = shape.rate_rps / shape.gpus
        if eff > best_eff:
            best, best_eff = k, eff
    return best


def should_reschedule(window: Window, cluster: Cluster, plan: Plan, memory: Memory) -> bool:
    if not window.plan_feasible or len(plan.replicas) == 0:
        return True
    if window.since_plan_s < COOLDOWN_S:
        return False
    if window.capacity_changed:
        return True
    now = window.classes[0].rate_rps
    then = window.rate_at_plan_rps
    if is_missing(then) or is_missing(now):
        return False
    return abs(now - then) > DRIFT * max(then, 0.01)


def schedule(
    window: Window, cluster: Cluster, plan: Plan, new_plan: Plan, memory: Memory
) -> None:
    need = demand(window)
    built = 0
    rate = 0.0
    ranked = []
    for p in range(len(cluster.pools)):
        k = best_shape(cluster, p)
        if k >= 0:
            s = cluster.shapes[k]
            price = max(cluster.pools[p].price_usd_per_hour, 0.01)
            ranked.append((s.rate_rps / (s.gpus * price), k))
    for _, k in sorted(ranked, reverse=True):
        s = cluster.shapes[k]
        for _ in range(s.fits_now):
            if rate >= need and built >= MIN_REPLICAS:
                return
            if add_replica(new_plan, s.pool, s.tp, s.pp, MIXED) < 0:
                return
            rate += s.rate_rps
            built += 1
    if built == 0:
        keep_plan(new_plan, plan)
