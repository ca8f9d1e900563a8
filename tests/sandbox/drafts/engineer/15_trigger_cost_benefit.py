"""Replan when the load drifted and the gain pays for the switch; planner is greedy by rate per GPU."""

DRIFT = 0.3  # tune: 0.05 .. 2.0
MIN_PLAN_AGE_S = 120.0  # tune: 10 .. 1800
SLO_FLOOR = 0.9  # tune: 0.5 .. 0.999
HEADROOM = 1.25  # tune: 1.0 .. 2.5


def demand_rps(window):
    row = window.classes[0]
    forecast = row.forecast_rps
    if is_missing(forecast):
        forecast = row.rate_rps
    return HEADROOM * max(row.rate_rps, forecast)


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible or window.capacity_changed:
        return True
    switch = window.last_switch_s
    patience = MIN_PLAN_AGE_S if is_missing(switch) else max(MIN_PLAN_AGE_S, 4.0 * switch)
    if window.since_plan_s < patience:
        return False
    drift = abs(ratio(window.classes[0].rate_rps, window.rate_at_plan_rps, 1.0) - 1.0)
    attained = window.classes[0].slo_attainment
    missing_slo = not is_missing(attained) and attained < SLO_FLOOR
    return drift > DRIFT or missing_slo


def schedule(window, cluster, plan, new_plan, memory):
    need = demand_rps(window)
    free = [p.present - p.leaving for p in cluster.pools]
    shapes = sorted(cluster.shapes, key=lambda s: -ratio(s.rate_rps, s.gpus, 0.0))
    have = 0.0
    for s in shapes:
        if s.rate_rps <= 0:
            continue
        for _ in range(MAX_REPLICAS):
            if have >= need or free[s.pool] < s.gpus:
                break
            if add_replica(new_plan, s.pool, s.tp, s.pp, MIXED) < 0:
                return
            free[s.pool] -= s.gpus
            have += s.rate_rps
    if len(new_plan.replicas) == 0:
        keep_plan(new_plan, plan)
