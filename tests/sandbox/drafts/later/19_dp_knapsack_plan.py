"""Exact knapsack over GPUs per pool: dynamic programming picks the replica mix of highest rate."""

MAX_G = 64  # tune: 16 .. 128
REPLAN_S = 900.0  # tune: 120 .. 3600


def should_reschedule(window, cluster, plan, memory):
    return (not window.plan_feasible) or window.capacity_changed or window.since_plan_s > REPLAN_S


def solve_pool(cluster, pool_index, gpus):
    """value[g] = best rate with g gpus, choice[g] = shape taken last (-1: leave one idle)."""
    value = zeros(gpus + 1)
    choice = [-1] * (gpus + 1)
    ids = [k for k, s in enumerate(cluster.shapes) if s.pool == pool_index]
    for g in range(1, gpus + 1):
        value[g] = value[g - 1]
        for k in ids:
            s = cluster.shapes[k]
            if s.gpus <= g and value[g - s.gpus] + s.rate_rps > value[g]:
                value[g] = value[g - s.gpus] + s.rate_rps
                choice[g] = k
    picked = []
    g = gpus
    for _ in range(gpus):
        if g <= 0:
            break
        k = choice[g]
        if k < 0:
            g -= 1
        else:
            picked.append(k)
            g -= cluster.shapes[k].gpus
    return picked


def schedule(window, cluster, plan, new_plan, memory):
    for p, pool in enumerate(cluster.pools):
        gpus = min(MAX_G, pool.present - pool.leaving)
        if gpus < 1:
            continue
        for k in solve_pool(cluster, p, gpus):
            s = cluster.shapes[k]
            add_replica(new_plan, s.pool, s.tp, s.pp, MIXED)

    gain = serving_rate_rps(cluster, new_plan) - serving_rate_rps(cluster, plan)
    cost = switch_cost_s(cluster, plan, new_plan)
    lost = cost * serving_rate_rps(cluster, plan)
    if window.plan_feasible and gain * REPLAN_S < lost:
        keep_plan(new_plan, plan)
