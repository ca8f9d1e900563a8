"""Spot-aware planning: a base of reliable GPUs for the mean load, spot for the rest while it lasts."""

BASE_SHARE = 0.6  # tune: 0.2 .. 1.0
SPOT_DISCOUNT = 0.7  # tune: 0.3 .. 1.0
SAFETY = 1.25  # tune: 1.0 .. 2.0
QUIET_S = 90.0  # tune: 10 .. 600


def usable_gpus(pool: Pool) -> int:
    n = pool.present - pool.leaving
    if pool.spot and not is_missing(pool.outlook) and pool.outlook < 0:
        n += floor(pool.outlook)
    return max(0, n)


def shape_for(cluster: Cluster, p: int) -> Shape | None:
    options = [s for s in cluster.shapes if s.pool == p and s.rate_rps > 0]
    if not options:
        return None
    spot = cluster.pools[p].spot
    if spot:
        # quick starters on spot
        return min(options, key=lambda s: s.start_s * s.gpus / s.rate_rps)
    return max(options, key=lambda s: s.rate_rps / s.gpus)


def fill(cluster: Cluster, new_plan: Plan, p: int, need: float) -> float:
    s = shape_for(cluster, p)
    if s is None or need <= 0:
        return 0.0
    pool = cluster.pools[p]
    worth = SPOT_DISCOUNT if pool.spot else 1.0
    got = 0.0
    for _ in range(usable_gpus(pool) // s.gpus):
        if got >= need:
            break
        if add_replica(new_plan, p, s.tp, s.pp, MIXED) < 0:
            break
        got += s.rate_rps * worth
    return got


def should_reschedule(window: Window, cluster: Cluster, plan: Plan, memory: Memory) -> bool:
    if not window.plan_feasible:
        return True
    leaving = any(p.leaving > 0 and p.grace_s < 120.0 for p in cluster.pools)
    if leaving:
        return True
    if window.since_capacity_change_s < QUIET_S or window.since_plan_s < QUIET_S:
        return False
    have = serving_rate_rps(cluster, plan)
    return window.classes[0].rate_rps * SAFETY > have


def schedule(window: Window, cluster: Cluster, plan: Plan, new_plan: Plan, memory: Memory) -> None:
    row = window.classes[0]
    rate = row.rate_rps if is_missing(row.forecast_rps) else row.forecast_rps
    need = SAFETY * rate
    order_firm = [p for p, x in enumerate(cluster.pools) if not x.spot]
    order_spot = [p for p, x in enumerate(cluster.pools) if x.spot]
    order_firm = sorted(order_firm, key=lambda p: cluster.pools[p].price_usd_per_hour)
    order_spot = sorted(order_spot, key=lambda p: cluster.pools[p].price_usd_per_hour)

    got = 0.0
    for p in order_firm:
        got += fill(cluster, new_plan, p, BASE_SHARE * need - got)
    for p in order_spot:
        got += fill(cluster, new_plan, p, need - got)
    for p in order_spot + order_firm:
        pool = cluster.pools[p]
        if pool.elastic:
            want_gpus(cluster, p, pool.present + (1 if got < need else 0))
    if len(new_plan.replicas) == 0:
        keep_plan(new_plan, plan)
