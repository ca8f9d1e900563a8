"""Elastic scaling with separate up and down thresholds and a patience counter for shrinking."""

UP = 0.85  # tune: 0.6 .. 0.98
DOWN = 0.4  # tune: 0.1 .. 0.6
PATIENCE = 5  # tune: 1 .. 20
TARGET = 0.65  # tune: 0.4 .. 0.9
QUEUE_S = 1.0  # tune: 0.1 .. 10

# memory: 0 low-load streak, 1 smoothed utilisation, 2 initialised
STREAK, UTIL, INIT = 0, 1, 2


def utilisation(window):
    return max(window.busy, window.kv_pressure)


def should_reschedule(window, cluster, plan, memory):
    u = utilisation(window)
    if memory[INIT] == 0:
        memory[INIT] = 1
        memory[UTIL] = u
    memory[UTIL] = 0.5 * memory[UTIL] + 0.5 * u

    if not window.plan_feasible or window.capacity_changed:
        memory[STREAK] = 0
        return True
    row = window.classes[0]
    if memory[UTIL] > UP or (not is_missing(row.queue_mean_s) and row.queue_mean_s > QUEUE_S):
        memory[STREAK] = 0
        return True
    if memory[UTIL] < DOWN:
        memory[STREAK] += 1
        if memory[STREAK] >= PATIENCE:
            memory[STREAK] = 0
            return True
    else:
        memory[STREAK] = 0
    return False


def schedule(window, cluster, plan, new_plan, memory):
    have = len(plan.replicas)
    util = memory[UTIL] if memory[INIT] > 0 else utilisation(window)
    target = max(1, ceil(have * util / TARGET)) if have > 0 else 1

    # keep running replicas, busiest first, while their pool still has GPUs
    room = [p.present - p.leaving for p in cluster.pools]
    ranked = sorted(plan.replicas, key=lambda r: (r.ready, r.running_requests + r.queued_requests), reverse=True)
    placed = 0
    for r in ranked:
        need = r.tp * r.pp
        if placed >= target:
            break
        if room[r.pool] >= need:
            add_replica(new_plan, r.pool, r.tp, r.pp, r.role)
            room[r.pool] -= need
            placed += 1

    while_guard = 64
    for _ in range(while_guard):
        if placed >= target:
            break
        best = None
        for s in cluster.shapes:
            if s.gpus <= room[s.pool] and s.rate_rps > 0:
                if best is None or s.rate_rps / s.gpus > best.rate_rps / best.gpus:
                    best = s
        if best is None:
            break
        add_replica(new_plan, best.pool, best.tp, best.pp, MIXED)
        room[best.pool] -= best.gpus
        placed += 1

    for p, pool in enumerate(cluster.pools):
        if pool.elastic:
            used = plan_gpus(new_plan, p)
            extra = pool.node_size if placed < target else 0
            want_gpus(cluster, p, used + extra)
