"""Local search from the present plan: swap, add or drop one replica while the objective improves.

Objective: SLO-weighted capacity minus price minus amortised switch cost. Counts live in a scratch
row; the new plan is written once at the end, keeping roles of the classes that need them.
"""

ROUNDS = 10
HORIZON_S = 1200.0  # tune: 60 .. 7200
PRICE_W = 0.01  # tune: 0.0 .. 1.0
SHORT_W = 8.0  # tune: 1 .. 50
LATENCY_W = 0.05  # tune: 0.0 .. 1.0
OUTLOOK_W = 0.5  # tune: 0.0 .. 1.0
TRIGGER = 0.2  # tune: 0.02 .. 1.0

# planner memory
M_RATE = 0
M_ROUND = 1


def smooth_rate(window, memory):
    rate = window.classes[0].rate_rps
    memory[M_RATE] = rate if memory[M_RATE] == 0 else 0.7 * memory[M_RATE] + 0.3 * rate
    return memory[M_RATE]


def usable(pool):
    gone = pool.leaving
    if pool.spot and not is_missing(pool.outlook):
        gone += max(0.0, -pool.outlook) * OUTLOOK_W
    return max(0, pool.present - ceil(gone))


def objective(cluster, counts, start, need):
    rate = price = lat = 0.0
    total = 0
    restart = 0.0
    for k, s in enumerate(cluster.shapes):
        c = counts[k]
        if c <= 0:
            continue
        total += c
        rate += c * s.rate_rps
        lat += c * s.latency_s
        price += c * s.gpus * cluster.pools[s.pool].price_usd_per_hour
        if c > start[k]:
            restart = max(restart, s.start_s)
    if total == 0:
        return -1e12
    shortage = max(0.0, 1.0 - rate / max(need, 1e-9))
    return -SHORT_W * shortage - PRICE_W * price - LATENCY_W * lat / total - restart / HORIZON_S


def feasible(cluster, counts, pool_index):
    used = sum(counts[k] * s.gpus for k, s in enumerate(cluster.shapes) if s.pool == pool_index)
    return used <= usable(cluster.pools[pool_index])


def best_neighbour(cluster, counts, start, need, value):
    """(gain, take, give): shape to add one of and shape to drop one of, -1 for none."""
    n = len(cluster.shapes)
    best = (0.0, -1, -1)
    for add in range(-1, n):
        for drop in range(-1, n):
            if add == drop:
                continue
            if drop >= 0 and counts[drop] < 1:
                continue
            if add >= 0:
                counts[add] += 1
            if drop >= 0:
                counts[drop] -= 1
            if add < 0 or feasible(cluster, counts, cluster.shapes[add].pool):
                gain = objective(cluster, counts, start, need) - value
                if gain > best[0] + 1e-9:
                    best = (gain, add, drop)
            if add >= 0:
                counts[add] -= 1
            if drop >= 0:
                counts[drop] += 1
    return best


def should_reschedule(window, cluster, plan, memory):
    rate = smooth_rate(window, memory)
    if not window.plan_feasible or window.capacity_changed:
        return True
    if any(p.leaving > 0 for p in cluster.pools) and window.since_plan_s > 20:
        return True
    return abs(ratio(rate, window.rate_at_plan_rps, 1.0) - 1) > TRIGGER


def schedule(window, cluster, plan, new_plan, memory):
    n = len(cluster.shapes)
    counts, start = zeros(n), zeros(n)
    need = 1.2 * max(memory[M_RATE], window.classes[0].rate_rps)

    for r in plan.replicas:
        k = find_shape(cluster, r.pool, r.tp, r.pp)
        if k < 0:
            continue
        counts[k] += 1
        if feasible(cluster, counts, r.pool):
            start[k] += 1
        else:
            counts[k] -= 1

    value = objective(cluster, counts, start, need)
    for _ in range(ROUNDS):
        gain, add, drop = best_neighbour(cluster, counts, start, need, value)
        if gain <= 0:
            break
        if add >= 0:
            counts[add] += 1
        if drop >= 0:
            counts[drop] -= 1
        value += gain

    changed = any(counts[k] != start[k] for k in range(n))
    if not changed and window.plan_feasible:
        keep_plan(new_plan, plan)
        return
    for k in range(n):
        for _ in range(int(counts[k])):
            s = cluster.shapes[k]
            add_replica(new_plan, s.pool, s.tp, s.pp, MIXED)
    memory[M_ROUND] += 1
