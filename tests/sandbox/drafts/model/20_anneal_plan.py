"""Simulated annealing over replica counts per shape, seeded by the planning round."""

STEPS = 300
T0 = 1.0  # tune: 0.1 .. 10
COOL = 0.985  # tune: 0.9 .. 0.999
GPU_COST = 0.05  # tune: 0.0 .. 1.0
SHORTFALL = 10.0  # tune: 1 .. 100
ROUND = 0


def need_rps(window):
    c = window.classes[0]
    return c.rate_rps if is_missing(c.forecast_rps) else max(c.rate_rps, c.forecast_rps)


def cost(counts, cluster, need):
    rate, gpus = 0.0, 0
    for k, s in enumerate(cluster.shapes):
        rate += counts[k] * s.rate_rps
        gpus += counts[k] * s.gpus
    return SHORTFALL * max(0.0, need * 1.2 - rate) + GPU_COST * gpus


def pool_use(counts, cluster, pool):
    return sum(counts[k] * s.gpus for k, s in enumerate(cluster.shapes) if s.pool == pool)


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible:
        return True
    attained = window.classes[0].slo_attainment
    bad = not is_missing(attained) and attained < 0.9
    return window.since_plan_s > 180 and (bad or window.capacity_changed)


def schedule(window, cluster, plan, new_plan, memory):
    n = len(cluster.shapes)
    if n == 0:
        keep_plan(new_plan, plan)
        return
    memory[ROUND] += 1
    seed = int(memory[ROUND])
    need = need_rps(window)

    counts = [0] * n
    for r in plan.replicas:
        k = find_shape(cluster, r.pool, r.tp, r.pp)
        if k >= 0:
            counts[k] += 1

    current = cost(counts, cluster, need)
    best, best_cost = list(counts), current
    temp = T0
    for i in range(STEPS):
        k = int(random01(seed, 3 * i) * n)
        delta = 1 if random01(seed, 3 * i + 1) < 0.5 else -1
        s = cluster.shapes[k]
        if counts[k] + delta < 0:
            continue
        if delta > 0:
            p = cluster.pools[s.pool]
            if pool_use(counts, cluster, s.pool) + s.gpus > p.present - p.leaving:
                continue
        counts[k] += delta
        c = cost(counts, cluster, need)
        if c <= current or random01(seed, 3 * i + 2) < exp((current - c) / temp):
            current = c
            if c < best_cost:
                best, best_cost = list(counts), c
        else:
            counts[k] -= delta
        temp *= COOL

    if sum(best) == 0:
        keep_plan(new_plan, plan)
        return
    for k, s in enumerate(cluster.shapes):
        for _ in range(int(best[k])):
            add_replica(new_plan, s.pool, s.tp, s.pp, MIXED)
