"""Trigger on rate drift with cooldown; plan greedily by rate per dollar.

The trigger fires when capacity changed, or when the forecast leaves the band around the rate
the plan was made for and the last switch has been paid back.
"""

BAND_UP = 0.25  # tune: 0.05 .. 1.0
BAND_DOWN = 0.4  # tune: 0.1 .. 0.8
COOLDOWN_S = 120.0  # tune: 15 .. 900
HEADROOM = 1.2  # tune: 1.0 .. 2.0
BIG = 1e18


def total_forecast(window):
    row = window.classes[0]
    f = row.forecast_rps
    return row.rate_rps if is_missing(f) else max(f, row.rate_rps)


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible or window.capacity_changed:
        return True
    cool = COOLDOWN_S
    if not is_missing(window.last_switch_s):
        cool = max(cool, 3 * window.last_switch_s)
    if window.since_plan_s < cool:
        return False
    base = window.rate_at_plan_rps
    now = total_forecast(window)
    return now > base * (1 + BAND_UP) or now < base * (1 - BAND_DOWN)


def schedule(window, cluster, plan, new_plan, memory):
    need = HEADROOM * total_forecast(window)
    budget = [pool.present - pool.leaving for pool in cluster.pools]
    price = [pool.price_usd_per_hour for pool in cluster.pools]

    got = 0.0
    for _ in range(MAX_REPLICAS):
        if got >= need and len(new_plan.replicas) > 0:
            break
        best = None
        best_value = -BIG
        for shape in cluster.shapes:
            if shape.gpus > budget[shape.pool] or shape.rate_rps <= 0:
                continue
            value = ratio(shape.rate_rps, shape.gpus * price[shape.pool], shape.rate_rps)
            if value > best_value:
                best, best_value = shape, value
        if best is None:
            break
        add_replica(new_plan, best.pool, best.tp, best.pp, MIXED)
        budget[best.pool] -= best.gpus
        got += best.rate_rps

    if len(new_plan.replicas) == 0:
        keep_plan(new_plan, plan)
