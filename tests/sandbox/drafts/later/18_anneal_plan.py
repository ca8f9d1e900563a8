"""Simulated annealing over replica counts per shape, warm-started from the present plan."""

STEPS = 400  # tune: 50 .. 600
T_START = 0.5  # tune: 0.05 .. 2
T_END = 0.01  # tune: 0.001 .. 0.1
HEADROOM = 1.25  # tune: 1 .. 2
SWITCH_WEIGHT = 0.02  # tune: 0 .. 0.2
COST_WEIGHT = 0.1  # tune: 0.0 .. 1.0


def energy(cluster, counts, demand):
    rate = 0.0
    cost = 0.0
    for s, shape in enumerate(cluster.shapes):
        rate += counts[s] * shape.rate_rps
        cost += counts[s] * shape.gpus * cluster.pools[shape.pool].price_usd_per_hour
    short = max(0.0, 1.0 - ratio(rate, demand, 1.0))
    return 10.0 * short + COST_WEIGHT * ratio(cost, max(cluster.price_usd_per_hour, 1.0), 0.0)


def distance(cluster, counts, start):
    worst = 0.0
    for s, shape in enumerate(cluster.shapes):
        if counts[s] > start[s]:
            worst = max(worst, shape.start_s)
    return worst


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible:
        return True
    if window.capacity_changed and window.since_plan_s > 60.0:
        return True
    if window.since_plan_s < 240.0:
        return False
    return window.classes[0].slo_attainment < 0.9 or window.busy < 0.3


def schedule(window, cluster, plan, new_plan, memory):
    n = len(cluster.shapes)
    if n == 0:
        keep_plan(new_plan, plan)
        return
    demand = HEADROOM * window.classes[0].rate_rps
    budget = [p.present - p.leaving for p in cluster.pools]

    counts = [0] * n
    used = [0] * len(budget)
    for r in plan.replicas:
        s = find_shape(cluster, r.pool, r.tp, r.pp)
        if s < 0:
            continue
        g = cluster.shapes[s].gpus
        if used[r.pool] + g <= budget[r.pool]:
            counts[s] += 1
            used[r.pool] += g
    start = counts.copy()

    cur = energy(cluster, counts, demand)
    best = cur
    best_counts = counts.copy()
    seed = int(window.now_s) + 17
    for t in range(STEPS):
        temp = T_START * exp(log(T_END / T_START) * t / STEPS)
        s = int(random01(seed, 3 * t) * n)
        up = random01(seed, 3 * t + 1) < 0.5
        shape = cluster.shapes[s]
        delta = 1 if up else -1
        if counts[s] + delta < 0:
            continue
        if used[shape.pool] + delta * shape.gpus > budget[shape.pool]:
            continue
        counts[s] += delta
        e = energy(cluster, counts, demand) + SWITCH_WEIGHT * distance(cluster, counts, start)
        if e <= cur or random01(seed, 3 * t + 2) < exp((cur - e) / temp):
            cur = e
            used[shape.pool] += delta * shape.gpus
            if e < best:
                best = e
                best_counts = counts.copy()
        else:
            counts[s] -= delta

    for s, c in enumerate(best_counts):
        shape = cluster.shapes[s]
        for _ in range(c):
            add_replica(new_plan, shape.pool, shape.tp, shape.pp, MIXED)
    if len(new_plan.replicas) == 0:
        keep_plan(new_plan, plan)
