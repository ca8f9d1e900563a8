"""Replan on drift with a cooldown; plan greedily by request rate per GPU within each pool."""

DRIFT = 0.35  # tune: 0.1 .. 1.0
COOLDOWN_S = 300.0  # tune: 30 .. 1800
HEADROOM = 1.3  # tune: 1.0 .. 2.5
MIN_GAIN = 1.1  # tune: 1.0 .. 2.0


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible:
        return True
    if window.capacity_changed:
        return window.since_plan_s > 0.2 * COOLDOWN_S
    if window.since_plan_s < COOLDOWN_S:
        return False
    now = window.classes[0].rate_rps
    then = window.rate_at_plan_rps
    if is_missing(then) or then <= 0:
        return True
    return abs(now - then) / then > DRIFT


def best_shape(cluster, pool_index, free):
    best = None
    best_eff = 0.0
    for shape in cluster.shapes:
        if shape.pool != pool_index or shape.gpus > free:
            continue
        eff = shape.rate_rps / shape.gpus
        if eff > best_eff:
            best, best_eff = shape, eff
    return best


def schedule(window, cluster, plan, new_plan, memory):
    row = window.classes[0]
    demand = row.rate_rps
    if not is_missing(row.forecast_rps):
        demand = max(demand, row.forecast_rps)
    demand *= HEADROOM

    # cheap pools first
    pools = sorted(range(len(cluster.pools)), key=lambda p: cluster.pools[p].price_usd_per_hour)
    built = 0.0
    for p in pools:
        pool = cluster.pools[p]
        left = pool.present - pool.leaving
        for _ in range(64):
            if built >= demand and built > 0:
                break
            shape = best_shape(cluster, p, left)
            if shape is None:
                break
            if add_replica(new_plan, p, shape.tp, shape.pp, MIXED) < 0:
                break
            built += shape.rate_rps
            left -= shape.gpus

    old = serving_rate_rps(cluster, plan)
    if window.plan_feasible and old >= demand and built < old * MIN_GAIN:
        keep_plan(new_plan, plan)
