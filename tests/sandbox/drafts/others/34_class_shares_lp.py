"""Assign classes to replicas greedily by comparative advantage and set their shares.

For every class its rate is spread over the replicas that serve it best relative to the others,
until each replica's time is used up.
"""

HEADROOM = 1.2  # tune: 1.0 .. 2.0
COOLDOWN_S = 150.0  # tune: 20 .. 900
SLO_TRIGGER = 0.9  # tune: 0.5 .. 0.99
MIN_SHARE = 0.02


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible or window.capacity_changed:
        return True
    if window.since_plan_s < COOLDOWN_S:
        return False
    worst = 1.0
    for c in window.classes:
        if c.class_id > 0 and c.requests > 20 and not is_missing(c.slo_attainment):
            worst = min(worst, c.slo_attainment)
    return worst < SLO_TRIGGER


def class_rate(c):
    f = c.forecast_rps
    return HEADROOM * (f if not is_missing(f) and f > c.rate_rps else c.rate_rps)


def copy_plan(cluster, plan, new_plan):
    left = [p.present - p.leaving for p in cluster.pools]
    shape_of = []
    for r in plan.replicas:
        k = find_shape(cluster, r.pool, r.tp, r.pp)
        if k >= 0 and cluster.shapes[k].gpus <= left[r.pool]:
            left[r.pool] -= cluster.shapes[k].gpus
            add_replica(new_plan, r.pool, r.tp, r.pp, r.role)
            shape_of.append(k)
    return shape_of, left


def grow(cluster, new_plan, shape_of, left):
    for k, s in enumerate(cluster.shapes):
        density_best = all(
            s.rate_rps * t.gpus >= t.rate_rps * s.gpus for t in cluster.shapes if t.pool == s.pool
        )
        if not density_best:
            continue
        for _ in range(left[s.pool] // s.gpus):
            if add_replica(new_plan, s.pool, s.tp, s.pp, MIXED) >= 0:
                shape_of.append(k)
                left[s.pool] -= s.gpus


def schedule(window, cluster, plan, new_plan, memory):
    shape_of, left = copy_plan(cluster, plan, new_plan)
    grow(cluster, new_plan, shape_of, left)
    n = len(shape_of)
    if n == 0:
        keep_plan(new_plan, plan)
        return

    share = zeros(n, MAX_CLASSES)
    time_left = [1.0 for _ in range(n)]
    todo = sorted([c for c in window.classes if c.class_id > 0], key=class_rate, reverse=True)
    for c in todo:
        cid = c.class_id
        rate = class_rate(c)
        if rate <= 0:
            continue
        # comparative advantage: rate for this class over rate for the whole mix
        adv = [ratio(cluster.shapes[k].class_rate_rps[cid], cluster.shapes[k].rate_rps, 0.0) for k in shape_of]
        ranking = sorted(range(n), key=lambda i: -adv[i])
        open_rate = rate
        for i in ranking:
            cap = cluster.shapes[shape_of[i]].class_rate_rps[cid] * time_left[i]
            if cap <= 0:
                continue
            take = min(cap, open_rate)
            share[i, cid] = take / rate
            time_left[i] -= time_left[i] * take / cap
            open_rate -= take
            if open_rate <= 1e-6:
                break
        if open_rate > 1e-6:
            for i in range(n):
                share[i, cid] += open_rate / rate / n

    for c in todo:
        for i in range(n):
            v = share[i, c.class_id]
            set_share(new_plan, i, c.class_id, v if v >= MIN_SHARE else 0.0)
