"""Dynamic programme over GPU counts: per pool, the replica mix with the highest sustained rate.

best[g] is the highest rate from g GPUs of the pool, choice[g] the shape that got us there.
"""

LATENCY_WEIGHT = 0.02  # tune: 0.0 .. 0.5
SWITCH_HORIZON_S = 900.0  # tune: 60 .. 7200
MIN_GAIN = 0.08  # tune: 0.0 .. 0.5
PERIOD_S = 300.0  # tune: 30 .. 3600
MAX_GPUS = 256


def shape_value(shape: Shape) -> float:
    return shape.rate_rps / (1.0 + LATENCY_WEIGHT * shape.latency_s)


def fill_pool(cluster: Cluster, new_plan: Plan, pool: int, gpus: int) -> float:
    best = zeros(gpus + 1)
    choice = zeros(gpus + 1)
    for g in range(1, gpus + 1):
        best[g] = best[g - 1]
        choice[g] = -1
        for k, s in enumerate(cluster.shapes):
            if s.pool != pool or s.gpus > g or s.fits_now <= 0:
                continue
            value = best[g - s.gpus] + shape_value(s)
            if value > best[g]:
                best[g] = value
                choice[g] = k
    # walk back
    left = gpus
    for _ in range(gpus):
        if left <= 0:
            break
        k = int(choice[left])
        if k < 0:
            left -= 1
            continue
        s = cluster.shapes[k]
        add_replica(new_plan, pool, s.tp, s.pp, MIXED)
        left -= s.gpus
    return best[gpus]


def should_reschedule(window: Window, cluster: Cluster, plan: Plan, memory: Memory) -> bool:
    if not window.plan_feasible:
        return True
    if window.capacity_changed:
        return True
    return window.since_plan_s > PERIOD_S


def schedule(window: Window, cluster: Cluster, plan: Plan, new_plan: Plan, memory: Memory) -> None:
    total = 0.0
    for p, pool in enumerate(cluster.pools):
        usable = min(MAX_GPUS, pool.present - pool.leaving)
        if usable > 0:
            total += fill_pool(cluster, new_plan, p, usable)

    if not window.plan_feasible:
        return
    before = serving_rate_rps(cluster, plan)
    after = serving_rate_rps(cluster, new_plan)
    cost = switch_cost_s(cluster, plan, new_plan)
    # the gain has to survive being paid for
    gain = (after - before) * SWITCH_HORIZON_S - before * cost
    if after < (1.0 + MIN_GAIN) * before or gain <= 0:
        keep_plan(new_plan, plan)
