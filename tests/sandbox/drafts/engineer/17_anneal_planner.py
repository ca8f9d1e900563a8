"""Simulated annealing over replica counts per shape, with random01 and a capacity check per pool."""

STEPS = 300
T0 = 1.0  # tune: 0.05 .. 10
T1 = 0.01  # tune: 0.001 .. 0.5
PRICE_WEIGHT = 0.002  # tune: 0 .. 0.1
HEADROOM = 1.3  # tune: 1.0 .. 3.0


def energy(cluster, counts, n, need):
    rate, price = 0.0, 0.0
    for k in range(n):
        if counts[k] > 0:
            s = cluster.shapes[k]
            rate += counts[k] * s.rate_rps
            price += counts[k] * s.gpus * cluster.pools[s.pool].price_usd_per_hour
    short = max(0.0, need - rate)
    return short / max(need, 1e-6) * 10.0 + PRICE_WEIGHT * price


def should_reschedule(window, cluster, plan, memory):
    return not window.plan_feasible or window.capacity_changed or window.since_plan_s > 600


def schedule(window, cluster, plan, new_plan, memory):
    n = len(cluster.shapes)
    pools = len(cluster.pools)
    all_row = window.classes[0]
    need = HEADROOM * all_row.rate_rps
    counts = zeros(n)
    used = zeros(pools)
    best = zeros(n)

    # start from the present plan where it still fits
    for r in plan.replicas:
        k = find_shape(cluster, r.pool, r.tp, r.pp)
        if k < 0:
            continue
        g = cluster.shapes[k].gpus
        if used[r.pool] + g <= cluster.pools[r.pool].present - cluster.pools[r.pool].leaving:
            counts[k] += 1
            used[r.pool] += g

    memory[0] += 1
    seed = int(memory[0])
    e = energy(cluster, counts, n, need)
    best_e = e
    for k in range(n):
        best[k] = counts[k]

    for step in range(STEPS):
        t = T0 * exp(log(T1 / T0) * step / STEPS)
        k = int(random01(seed, 3 * step) * n)
        s = cluster.shapes[k]
        up = random01(seed, 3 * step + 1) < 0.5
        cap = cluster.pools[s.pool].present - cluster.pools[s.pool].leaving
        if up and used[s.pool] + s.gpus > cap:
            continue
        if not up and counts[k] == 0:
            continue
        d = 1 if up else -1
        counts[k] += d
        e2 = energy(cluster, counts, n, need)
        if e2 <= e or random01(seed, 3 * step + 2) < exp((e - e2) / t):
            e = e2
            used[s.pool] += d * s.gpus
            if e < best_e:
                best_e = e
                for j in range(n):
                    best[j] = counts[j]
        else:
            counts[k] -= d

    placed = 0
    for k in range(n):
        s = cluster.shapes[k]
        for _ in range(int(best[k])):
            if add_replica(new_plan, s.pool, s.tp, s.pp, MIXED) >= 0:
                placed += 1
    if placed == 0:
        keep_plan(new_plan, plan)
