"""Waterfilling of classes over replicas: shares follow inverse latency, refined by iterations.

Planner builds one cheap shape per pool, then iterates shares x[c, r] so that the utilisation of
the replicas evens out while each class sums to one. Router draws an instance by planned share.
"""

ITERS = 12
GAMMA = 0.6  # tune: 0.1 .. 1.0
EPS = 1e-6
REPLAN_S = 500.0  # tune: 60 .. 5000
QUEUE_VETO = 12  # tune: 2 .. 100


def should_reschedule(window, cluster, plan, memory):
    stale = window.since_plan_s > REPLAN_S
    return (not window.plan_feasible) or window.capacity_changed or stale


def schedule(window, cluster, plan, new_plan, memory):
    for p, pool in enumerate(cluster.pools):
        usable = pool.present - pool.leaving
        best = None
        for s in cluster.shapes:
            if s.pool == p and 0 < s.gpus <= usable:
                if best is None or s.rate_rps / s.gpus > best.rate_rps / best.gpus:
                    best = s
        if best is None:
            continue
        for _ in range(usable // best.gpus):
            add_replica(new_plan, p, best.tp, best.pp, MIXED)

    n = len(new_plan.replicas)
    if n == 0:
        keep_plan(new_plan, plan)
        return
    m = len(window.classes)
    x = zeros(m, n)
    cap = zeros(m, n)
    for r in range(n):
        rep = new_plan.replicas[r]
        k = find_shape(cluster, rep.pool, rep.tp, rep.pp)
        for c in range(1, m):
            cap[c, r] = max(EPS, cluster.shapes[k].class_rate_rps[window.classes[c].class_id])
            x[c, r] = 1.0 / n

    for it in range(ITERS):
        util = [sum(window.classes[c].rate_rps * x[c, r] / cap[c, r] for c in range(1, m)) for r in range(n)]
        mean = sum(util) / n
        if mean <= 0:
            break
        for c in range(1, m):
            total = 0.0
            for r in range(n):
                x[c, r] *= exp(GAMMA * (1 - util[r] / mean))
                total += x[c, r]
            for r in range(n):
                x[c, r] /= total

    for c in range(1, m):
        for r in range(n):
            set_share(new_plan, r, window.classes[c].class_id, x[c, r])


def route(request, instances, memory):
    rows = [i for i in instances if i.role != DECODE and not i.draining and not i.starting]
    if not rows:
        return HOLD
    weights = [i.share if i.queued_requests < QUEUE_VETO else 0.1 * i.share for i in rows]
    total = sum(weights)
    if total <= 0:
        return min(rows, key=lambda i: i.queued_requests).id
    u = random01(request.seed, 7 + request.held_count) * total
    acc = 0.0
    for inst, w in zip(rows, weights):
        acc += w
        if u < acc:
            return inst.id
    return rows[-1].id
