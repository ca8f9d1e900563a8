"""Spot-aware planning: core demand on stable pools, peaks on spot pools discounted by outlook."""

CORE = 0.7  # tune: 0.2 .. 1.0
HEADROOM = 1.2  # tune: 1.0 .. 2.5
SPOT_TRUST = 0.8  # tune: 0.1 .. 1.0
COOLDOWN_S = 90.0  # tune: 10 .. 900
EXTRA_GPUS = 4  # tune: 0 .. 32


def spot_factor(pool: Pool) -> float:
    if not pool.spot:
        return 1.0
    factor = SPOT_TRUST
    if not is_missing(pool.outlook) and pool.present > 0:
        factor *= clip(1.0 + pool.outlook / pool.present, 0.0, 1.2)
    if not is_missing(pool.grace_s):
        factor *= 0.5
    return factor


def stable_gpus(pool: Pool) -> int:
    n = pool.present - pool.leaving
    if pool.spot and not is_missing(pool.outlook) and pool.outlook < 0:
        n += floor(pool.outlook)
    return max(0, n)


def price_per_rps(cluster, shape):
    pool = cluster.pools[shape.pool]
    return ratio(shape.gpus * pool.price_usd_per_hour, shape.rate_rps * spot_factor(pool), 1e9)


def add_until(cluster, new_plan, need, free, spot_allowed):
    """Cheapest shapes first until need is met; returns the rate placed."""
    placed = 0.0
    shapes = [s for s in cluster.shapes if s.rate_rps > 0]
    shapes = sorted(shapes, key=lambda s: price_per_rps(cluster, s))
    for s in shapes:
        pool = cluster.pools[s.pool]
        if pool.spot and not spot_allowed:
            continue
        for _ in range(free[s.pool] // s.gpus):
            if placed >= need:
                return placed
            if add_replica(new_plan, s.pool, s.tp, s.pp, MIXED) < 0:
                return placed
            free[s.pool] -= s.gpus
            placed += s.rate_rps * spot_factor(pool)
    return placed


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible:
        return True
    leaving = sum(p.leaving for p in cluster.pools)
    if leaving > 0 and window.since_plan_s > 10:
        return True
    if window.capacity_changed and window.since_plan_s > COOLDOWN_S:
        return True
    rate = window.classes[0].rate_rps
    return window.since_plan_s > COOLDOWN_S and not (0.75 <= ratio(rate, window.rate_at_plan_rps, 1.0) <= 1.25)


def schedule(window, cluster, plan, new_plan, memory):
    row = window.classes[0]
    rate = row.rate_rps if is_missing(row.forecast_rps) else max(row.rate_rps, row.forecast_rps)
    need = HEADROOM * rate
    free = [stable_gpus(p) for p in cluster.pools]
    core = add_until(cluster, new_plan, CORE * need, free, False)
    rest = add_until(cluster, new_plan, need - core, free, True)
    if core + rest < need:
        for i, pool in enumerate(cluster.pools):
            if pool.elastic:
                want_gpus(cluster, i, pool.present + EXTRA_GPUS)
    if len(new_plan.replicas) == 0:
        keep_plan(new_plan, plan)


def route(request, instances, memory):
    """Never start what cannot finish before the GPUs go."""
    best_id, best_t = HOLD, None
    last_resort, resort_t = HOLD, None
    for inst in instances:
        if inst.role == DECODE or inst.draining or inst.starting:
            continue
        t = completion_s(request, inst)
        safe = is_missing(inst.grace_s) or t < inst.grace_s
        if safe:
            if best_t is None or t < best_t:
                best_id, best_t = inst.id, t
        elif resort_t is None or t - inst.grace_s < resort_t:
            last_resort, resort_t = inst.id, t - inst.grace_s
    return best_id if best_t is not None else last_resort
