"""Spot-aware planning: online base load on stable pools, the rest on spot, hedged by outlook.

Spot capacity is discounted by its outlook and by GPUs that have been told to leave. Shapes with a
long start are not put on pools with a short grace period.
"""

BASE_SHARE = 0.6  # tune: 0.2 .. 1.0
SPOT_TRUST = 0.8  # tune: 0.2 .. 1.0
HEADROOM = 1.15  # tune: 1.0 .. 2.0
START_LIMIT = 0.5  # share of the grace period a start may take  # tune: 0.1 .. 1.0
MIN_GAP_S = 60.0  # tune: 10 .. 600


def usable_gpus(pool) -> int:
    n = pool.present - pool.leaving
    if pool.spot:
        if not is_missing(pool.outlook) and pool.outlook < 0:
            n = n + int(floor(pool.outlook))
        n = floor(SPOT_TRUST * max(n, 0))
    return max(n, 0)


def demand(window):
    c = window.classes[0]
    base = c.rate_rps
    f = c.forecast_rps if not is_missing(c.forecast_rps) else base
    err = c.forecast_error if not is_missing(c.forecast_error) else 0.2
    return HEADROOM * max(base, f * (1 + 0.5 * err))


def candidates(cluster, spot):
    rows = [s for s in cluster.shapes if cluster.pools[s.pool].spot == spot and s.rate_rps > 0]
    return sorted(rows, key=lambda s: cluster.pools[s.pool].price_usd_per_hour * s.gpus / s.rate_rps)


def fill(cluster, new_plan, rows, left, need):
    got = 0.0
    for s in rows:
        pool = cluster.pools[s.pool]
        if pool.spot and not is_missing(pool.grace_s) and s.start_s > START_LIMIT * pool.grace_s:
            continue
        n = left[s.pool] // s.gpus
        for _ in range(n):
            if got >= need:
                return got
            if add_replica(new_plan, s.pool, s.tp, s.pp, MIXED) < 0:
                return got
            left[s.pool] -= s.gpus
            got += s.rate_rps
    return got


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible:
        return True
    for pool in cluster.pools:
        if pool.leaving > 0 and not is_missing(pool.grace_s):
            return window.since_plan_s > min(MIN_GAP_S, pool.grace_s / 4)
    if window.since_plan_s < MIN_GAP_S:
        return False
    rate = serving_rate_rps(cluster, plan)
    need = demand(window)
    return rate < need or rate > 1.6 * need


def schedule(window, cluster, plan, new_plan, memory):
    need = demand(window)
    left = [usable_gpus(p) for p in cluster.pools]
    stable, spot = candidates(cluster, False), candidates(cluster, True)
    got = fill(cluster, new_plan, stable, left, BASE_SHARE * need)
    got += fill(cluster, new_plan, spot, left, need - got)
    if got < need:
        got += fill(cluster, new_plan, stable, left, need - got)
    if len(new_plan.replicas) == 0:
        keep_plan(new_plan, plan)
        return
    if got < need:
        short = need - got
        for index, pool in enumerate(cluster.pools):
            if pool.elastic and short > 0:
                per_gpu = max([s.rate_rps / s.gpus for s in cluster.shapes if s.pool == index], default=0.0)
                if per_gpu > 0:
                    extra = ceil(short / per_gpu)
                    want_gpus(cluster, index, pool.present + extra)
                    short -= extra * per_gpu
