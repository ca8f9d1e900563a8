"""Dynamic programming over GPU counts: best total rate for every number of GPUs in a pool."""

SWITCH_WEIGHT = 0.002  # tune: 0.0 .. 0.05
GAIN = 1.15  # tune: 1.0 .. 2.0
MAX_G = 128


def solve_pool(cluster: Cluster, pool: int, gpus: int):
    # value[g]: best rate with g GPUs, choice[g]: the shape used last (+1), 0 for none
    value = zeros(MAX_G + 1)
    choice = zeros(MAX_G + 1)
    for g in range(1, gpus + 1):
        value[g] = value[g - 1]
        for k, s in enumerate(cluster.shapes):
            if s.pool != pool or s.gpus > g:
                continue
            v = value[g - s.gpus] + s.rate_rps
            if v > value[g]:
                value[g] = v
                choice[g] = k + 1
    return value, choice


def build(cluster: Cluster, new_plan: Plan, gpus: int, choice) -> int:
    g = gpus
    n = 0
    for _ in range(gpus):
        if g <= 0:
            break
        k = int(choice[g]) - 1
        if k < 0:
            g -= 1
            continue
        s = cluster.shapes[k]
        add_replica(new_plan, s.pool, s.tp, s.pp, MIXED)
        n += 1
        g -= s.gpus
    return n


def should_reschedule(window: Window, cluster: Cluster, plan: Plan, memory: Memory) -> bool:
    if window.capacity_changed or not window.plan_feasible:
        return True
    return window.since_plan_s >= 20 * cluster.monitoring_s


def schedule(window: Window, cluster: Cluster, plan: Plan, new_plan: Plan, memory: Memory) -> None:
    made = 0
    for p, pool in enumerate(cluster.pools):
        gpus = min(MAX_G, pool.present - pool.leaving)
        if gpus <= 0:
            continue
        _, choice = solve_pool(cluster, p, gpus)
        made += build(cluster, new_plan, gpus, choice)

    old, new = serving_rate_rps(cluster, plan), serving_rate_rps(cluster, new_plan)
    penalty = 1.0 + SWITCH_WEIGHT * switch_cost_s(cluster, plan, new_plan)
    not_worth = window.plan_feasible and new < GAIN * penalty * old
    if made == 0 or not_worth:
        keep_plan(new_plan, plan)
