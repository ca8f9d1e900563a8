"""Hill climbing from the present plan: try adding, dropping and replacing one replica at a time.

The objective is expected goodput value minus rent minus amortised switching, in dollars per hour.
"""

VALUE_PER_RPS = 20.0  # tune: 1 .. 200
ROUNDS = 24  # tune: 4 .. 64
AMORTISE_S = 900.0  # tune: 60 .. 7200
QUEUE_TRIGGER_S = 1.0  # tune: 0.1 .. 20
COOLDOWN_S = 60.0  # tune: 5 .. 600
OVERLOAD = 1.1  # tune: 1.0 .. 2.0


def offered(window: Window) -> float:
    c = window.classes[0]
    r = c.rate_rps
    if not is_missing(c.forecast_rps):
        r = 0.5 * (r + c.forecast_rps)
    burst = c.burstiness if not is_missing(c.burstiness) else 1.0
    return r * (OVERLOAD + 0.1 * max(0.0, burst - 1.0))


def objective(cluster: Cluster, counts: Floats, old: Floats, load: float) -> float:
    rate = rent = 0.0
    slowest = 0.0
    for k, s in enumerate(cluster.shapes):
        if counts[k] <= 0:
            continue
        rate += counts[k] * s.rate_rps
        rent += counts[k] * s.gpus * cluster.pools[s.pool].price_usd_per_hour
        if counts[k] > old[k]:
            slowest = max(slowest, s.start_s)
    served = min(rate, load)
    return VALUE_PER_RPS * served * (1 - min(1.0, slowest / AMORTISE_S) * 0.5) - rent


def should_reschedule(window: Window, cluster: Cluster, plan: Plan, memory: Memory) -> bool:
    if not window.plan_feasible:
        return True
    if window.since_plan_s < COOLDOWN_S:
        return False
    q = window.classes[0].queue_mean_s
    waiting = not is_missing(q) and q > QUEUE_TRIGGER_S
    idle = window.busy < 0.3
    return waiting or idle or window.capacity_changed


def best_change(cluster: Cluster, counts: Floats, old: Floats, free: Floats, load: float):
    n = len(cluster.shapes)
    base = objective(cluster, counts, old, load)
    gain, add, drop = 0.0, -1, -1
    for d in range(-1, n):
        if d >= 0 and counts[d] < 1:
            continue
        if d >= 0:
            counts[d] -= 1
            free[cluster.shapes[d].pool] += cluster.shapes[d].gpus
        for a in range(-1, n):
            if a == d:
                continue
            if a >= 0 and free[cluster.shapes[a].pool] < cluster.shapes[a].gpus:
                continue
            if a >= 0:
                counts[a] += 1
            g = objective(cluster, counts, old, load) - base
            if a >= 0:
                counts[a] -= 1
            if g > gain + 1e-6:
                gain, add, drop = g, a, d
        if d >= 0:
            counts[d] += 1
            free[cluster.shapes[d].pool] -= cluster.shapes[d].gpus
    return gain, add, drop


def schedule(window: Window, cluster: Cluster, plan: Plan, new_plan: Plan, memory: Memory) -> None:
    n = len(cluster.shapes)
    counts, old = zeros(n), zeros(n)
    free = zeros(len(cluster.pools))
    for p, pool in enumerate(cluster.pools):
        free[p] = pool.present - pool.leaving
    for r in plan.replicas:
        k = find_shape(cluster, r.pool, r.tp, r.pp)
        if k < 0 or free[r.pool] < cluster.shapes[k].gpus:
            continue
        counts[k] += 1
        old[k] += 1
        free[r.pool] -= cluster.shapes[k].gpus

    load = offered(window)
    for _ in range(int(ROUNDS)):
        gain, add, drop = best_change(cluster, counts, old, free, load)
        if gain <= 0:
            break
        if drop >= 0:
            counts[drop] -= 1
            free[cluster.shapes[drop].pool] += cluster.shapes[drop].gpus
        if add >= 0:
            counts[add] += 1
            free[cluster.shapes[add].pool] -= cluster.shapes[add].gpus

    if all(counts[k] == old[k] for k in range(n)) and window.plan_feasible:
        keep_plan(new_plan, plan)
        return
    for k, s in enumerate(cluster.shapes):
        for _ in range(int(counts[k])):
            add_replica(new_plan, s.pool, s.tp, s.pp, MIXED)
