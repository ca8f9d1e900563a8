"""Simulated annealing over replica counts per shape, with switch cost in the objective."""

STEPS = 300  # tune: 50 .. 1000
T0 = 0.5  # tune: 0.05 .. 2.0
COOL = 0.985  # tune: 0.9 .. 0.999
HEADROOM = 1.25  # tune: 1.0 .. 2.0
MISS_COST = 10.0  # tune: 1 .. 50
CHANGE_COST = 0.02  # tune: 0 .. 0.2
PERIOD_S = 180.0  # tune: 30 .. 1200


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible:
        return True
    if window.since_plan_s < PERIOD_S:
        return False
    drift = abs(window.classes[0].rate_rps - window.rate_at_plan_rps)
    return drift > 0.2 * max(0.1, window.rate_at_plan_rps) or window.capacity_changed


def capacity_of(cluster, counts):
    return sum(counts[k] * s.rate_rps for k, s in enumerate(cluster.shapes))


def energy(cluster, counts, start, need):
    rate = 0.0
    usd = 0.0
    changed = 0.0
    for k, s in enumerate(cluster.shapes):
        rate += counts[k] * s.rate_rps
        usd += counts[k] * s.gpus * cluster.pools[s.pool].price_usd_per_hour
        changed += abs(counts[k] - start[k])
    miss = max(0.0, need - rate) / max(need, 0.001)
    return MISS_COST * miss + 0.05 * usd + CHANGE_COST * changed


def schedule(window, cluster, plan, new_plan, memory):
    n = len(cluster.shapes)
    if n == 0:
        keep_plan(new_plan, plan)
        return

    counts = zeros(n)
    start = zeros(n)
    best = zeros(n)
    free = [p.present - p.leaving for p in cluster.pools]

    for r in plan.replicas:
        k = find_shape(cluster, r.pool, r.tp, r.pp)
        if k >= 0 and free[r.pool] >= cluster.shapes[k].gpus:
            counts[k] += 1
            start[k] += 1
            free[r.pool] -= cluster.shapes[k].gpus
    for k in range(n):
        best[k] = counts[k]

    row = window.classes[0]
    need = HEADROOM * (row.rate_rps if is_missing(row.forecast_rps) else row.forecast_rps)
    seed = int(window.now_s)
    now = energy(cluster, counts, start, need)
    best_e = now
    temp = T0
    for step in range(int(STEPS)):
        k = min(n - 1, floor(random01(seed, 3 * step) * n))
        up = random01(seed, 3 * step + 1) < 0.5
        shape = cluster.shapes[k]
        temp *= COOL
        if up and free[shape.pool] < shape.gpus:
            continue
        if not up and counts[k] < 1:
            continue
        delta = 1 if up else -1
        counts[k] += delta
        trial = energy(cluster, counts, start, need)
        if trial < now or random01(seed, 3 * step + 2) < exp((now - trial) / max(temp, 1e-6)):
            now = trial
            free[shape.pool] -= delta * shape.gpus
            if now < best_e:
                best_e = now
                for j in range(n):
                    best[j] = counts[j]
        else:
            counts[k] -= delta

    for k, shape in enumerate(cluster.shapes):
        for _ in range(int(best[k])):
            add_replica(new_plan, shape.pool, shape.tp, shape.pp, MIXED)
    if not new_plan.replicas:
        keep_plan(new_plan, plan)
