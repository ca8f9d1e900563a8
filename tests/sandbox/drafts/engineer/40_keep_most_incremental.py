"""Incremental planner: keep the present plan, drop idle replicas when over, add when short.

Avoids restarts: only the difference between demand and capacity is built or removed.
"""

UP = 1.15  # tune: 1.0 .. 2.0
DOWN = 1.6  # tune: 1.2 .. 5.0
MAX_CHANGES = 4  # tune: 1 .. 32
COOLDOWN_S = 60.0  # tune: 10 .. 900
MIN_REPLICAS = 1


def target_rps(window: Window) -> float:
    c = window.classes[0]
    f = c.rate_rps
    if not is_missing(c.forecast_rps):
        err = 0.0 if is_missing(c.forecast_error) else c.forecast_error
        f = max(f, c.forecast_rps * (1 + err))
    # drain the queue within a minute
    return f + c.queued_requests / 60.0


def should_reschedule(window: Window, cluster: Cluster, plan: Plan, memory: Memory) -> bool:
    if not window.plan_feasible:
        return True
    if window.since_plan_s < COOLDOWN_S:
        return False
    have = serving_rate_rps(cluster, plan)
    need = target_rps(window)
    return need * UP > have or need * DOWN < have


def copy_fitting(cluster: Cluster, plan: Plan, new_plan: Plan) -> list:
    """Copy replicas that still fit; returns what is left free per pool."""
    left = [p.present - p.leaving for p in cluster.pools]
    for r in plan.replicas:
        g = r.tp * r.pp
        if left[r.pool] >= g:
            i = add_replica(new_plan, r.pool, r.tp, r.pp, r.role)
            set_lengths(new_plan, i, r.length_low_tokens, r.length_high_tokens)
            left[r.pool] -= g
    return left


def schedule(window: Window, cluster: Cluster, plan: Plan, new_plan: Plan, memory: Memory) -> None:
    left = copy_fitting(cluster, plan, new_plan)
    need = target_rps(window)

    # grow
    for _ in range(MAX_CHANGES):
        if serving_rate_rps(cluster, new_plan) >= need * UP:
            break
        best = None
        for s in cluster.shapes:
            if s.gpus <= left[s.pool] and s.rate_rps > 0:
                key = s.start_s / s.rate_rps
                if best is None or key < best[0]:
                    best = (key, s.pool, s.tp, s.pp, s.gpus)
        if best is None:
            break
        _, pool, tp, pp, gpus = best
        add_replica(new_plan, pool, tp, pp, MIXED)
        left[pool] -= gpus

    # shrink, idlest first
    for _ in range(MAX_CHANGES):
        have = serving_rate_rps(cluster, new_plan)
        n = len(new_plan.replicas)
        if n <= MIN_REPLICAS or have <= need * DOWN:
            break
        idlest, idx = None, -1
        for i, r in enumerate(new_plan.replicas):
            load = r.queued_requests + r.running_requests
            if idlest is None or load < idlest:
                idlest, idx = load, i
        k = find_shape(cluster, new_plan.replicas[idx].pool, new_plan.replicas[idx].tp, new_plan.replicas[idx].pp)
        if k >= 0 and have - cluster.shapes[k].rate_rps < need * UP:
            break
        drop_replica(new_plan, idx)
