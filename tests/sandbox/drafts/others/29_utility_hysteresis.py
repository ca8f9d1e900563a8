"""Replan when the regret of the present plan, accumulated over time, exceeds the switch cost.

memory: 0 regret in request-seconds, 1 time of the previous look, 2 cost of the last switch.
"""

REGRET, LAST, COST = 0, 1, 2
FORGET_S = 600.0  # tune: 60 .. 3600
PAYBACK = 1.5  # tune: 0.5 .. 5.0
DEFAULT_SWITCH_S = 45.0
HEADROOM = 1.1  # tune: 1.0 .. 1.8


def best_rate(cluster) -> float:
    # upper bound: every pool filled with its densest shape
    total = 0.0
    for p, pool in enumerate(cluster.pools):
        densities = [s.rate_rps / s.gpus for s in cluster.shapes if s.pool == p and s.gpus > 0]
        if densities:
            total += max(densities) * (pool.present - pool.leaving)
    return total


def should_reschedule(window, cluster, plan, memory) -> bool:
    if not window.plan_feasible:
        return True
    dt = window.now_s - memory[LAST] if memory[LAST] > 0 else window.span_s
    memory[LAST] = window.now_s

    have = serving_rate_rps(cluster, plan)
    want = HEADROOM * window.classes[0].rate_rps
    possible = min(want, best_rate(cluster))
    shortfall = max(0.0, possible - have)
    memory[REGRET] *= exp(-dt / FORGET_S)
    memory[REGRET] += shortfall * dt

    switch_s = DEFAULT_SWITCH_S if is_missing(window.last_switch_s) else window.last_switch_s
    memory[COST] = switch_s
    fire = memory[REGRET] > PAYBACK * switch_s * max(have, 0.1)
    if fire:
        memory[REGRET] = 0.0
    return fire


def schedule(window, cluster, plan, new_plan, memory) -> None:
    """Keep what exists, add the densest shapes where there is space."""
    left = []
    for p in cluster.pools:
        left.append(p.present - p.leaving)
    for r in plan.replicas:
        k = find_shape(cluster, r.pool, r.tp, r.pp)
        if k < 0:
            continue
        g = cluster.shapes[k].gpus
        if left[r.pool] >= g:
            add_replica(new_plan, r.pool, r.tp, r.pp, r.role)
            left[r.pool] -= g

    want = HEADROOM * window.classes[0].rate_rps
    shapes = sorted(cluster.shapes, key=lambda s: s.rate_rps / max(1, s.gpus), reverse=True)
    for s in shapes:
        for _ in range(left[s.pool] // s.gpus):
            if serving_rate_rps(cluster, new_plan) >= want:
                break
            add_replica(new_plan, s.pool, s.tp, s.pp, MIXED)
            left[s.pool] -= s.gpus

    gained = serving_rate_rps(cluster, new_plan) - serving_rate_rps(cluster, plan)
    cost_s = switch_cost_s(cluster, plan, new_plan)
    if window.plan_feasible and gained * FORGET_S < cost_s * serving_rate_rps(cluster, plan):
        keep_plan(new_plan, plan)
