"""Trigger on a Holt trend of the arrival rate; plan for the rate one start-up time ahead."""

LEVEL, TREND, SEEN, LAST = 0, 1, 2, 3
A = 0.4  # tune: 0.05 .. 0.9
B = 0.2  # tune: 0.02 .. 0.9
UPPER = 0.85  # tune: 0.5 .. 1.0
LOWER = 0.4  # tune: 0.1 .. 0.7
HOLD_DOWN_S = 300.0  # tune: 30 .. 1800
UTIL = 0.65  # tune: 0.3 .. 0.95


def observe(window: Window, memory: Memory) -> None:
    x = window.classes[0].rate_rps
    if is_missing(x):
        return
    if memory[SEEN] == 0.0:
        memory[LEVEL], memory[TREND], memory[SEEN] = x, 0.0, 1.0
        return
    old = memory[LEVEL]
    dt = max(window.span_s, 1.0)
    memory[LEVEL] = A * x + (1 - A) * (old + memory[TREND] * dt)
    memory[TREND] = B * (memory[LEVEL] - old) / dt + (1 - B) * memory[TREND]


def ahead(memory: Memory, seconds: float) -> float:
    return max(0.0, memory[LEVEL] + memory[TREND] * seconds)


def should_reschedule(window: Window, cluster: Cluster, plan: Plan, memory: Memory) -> bool:
    observe(window, memory)
    if not window.plan_feasible:
        return True
    capacity = serving_rate_rps(cluster, plan)
    if capacity <= 0.0:
        return True
    lead = 60.0 if is_missing(window.last_switch_s) else window.last_switch_s + cluster.monitoring_s
    load = ahead(memory, lead) / capacity
    if load > UPPER:
        return window.since_plan_s > 2 * cluster.monitoring_s
    return load < LOWER and window.since_plan_s > HOLD_DOWN_S


def schedule(window: Window, cluster: Cluster, plan: Plan, new_plan: Plan, memory: Memory) -> None:
    need = ahead(memory, 120.0) / UTIL
    # start from what runs, then grow or shrink
    for r in plan.replicas:
        pool = cluster.pools[r.pool]
        k = find_shape(cluster, r.pool, r.tp, r.pp)
        if k < 0:
            continue
        if plan_gpus(new_plan, r.pool) + cluster.shapes[k].gpus <= pool.present - pool.leaving:
            add_replica(new_plan, r.pool, r.tp, r.pp, r.role)

    have = serving_rate_rps(cluster, new_plan)
    if have < need:
        by_value = sorted(cluster.shapes, key=lambda s: -s.rate_rps / s.gpus)
        for s in by_value:
            pool = cluster.pools[s.pool]
            room = pool.present - pool.leaving - plan_gpus(new_plan, s.pool)
            for _ in range(room // s.gpus):
                if have >= need:
                    break
                if add_replica(new_plan, s.pool, s.tp, s.pp, MIXED) < 0:
                    return
                have += s.rate_rps
    else:
        for idx in reversed(range(len(new_plan.replicas))):
            r = new_plan.replicas[idx]
            k = find_shape(cluster, r.pool, r.tp, r.pp)
            rate = cluster.shapes[k].rate_rps
            if have - rate >= need and len(new_plan.replicas) > 1:
                drop_replica(new_plan, idx)
                have -= rate
    if len(new_plan.replicas) == 0:
        keep_plan(new_plan, plan)
