"""Bin packing of classes onto replicas: largest class first, each replica dedicated until it is full."""

TARGET = 0.8  # tune: 0.4 .. 1.0
MIN_SHARE = 0.02
COOLDOWN_S = 240.0  # tune: 60 .. 1200


def class_load(row, shape):
    r = shape.class_rate_rps[row.class_id]
    return ratio(row.rate_rps, r, 0.0)


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible:
        return True
    if window.since_plan_s < COOLDOWN_S:
        return False
    worst = 1.0
    for row in window.classes:
        if row.requests > 20 and not is_missing(row.slo_attainment):
            worst = min(worst, row.slo_attainment)
    return worst < 0.85 or window.capacity_changed


def schedule(window, cluster, plan, new_plan, memory):
    # the best shape overall
    usable = [s for s in cluster.shapes if s.fits_now > 0 and s.rate_rps > 0]
    if not usable:
        keep_plan(new_plan, plan)
        return
    s = max(usable, key=lambda s: s.rate_rps / s.gpus * min(s.fits_now, 8))
    n = min(s.fits_now, MAX_REPLICAS)
    for _ in range(n):
        i = add_replica(new_plan, s.pool, s.tp, s.pp, MIXED)
        for c in range(MAX_CLASSES):
            set_share(new_plan, i, c, 0.0)

    loads = [(class_load(row, s), row.class_id) for row in window.classes if row.class_id > 0]
    loads = sorted(loads, reverse=True)
    if not loads:
        for i in range(n):
            set_share(new_plan, i, 0, 1.0 / n)
        return

    used = [0.0] * n
    for load, c in loads:
        left = max(load, MIN_SHARE)
        whole = left
        for i in sorted(range(n), key=lambda i: used[i]):
            if left <= 0:
                break
            take = min(left, TARGET - used[i])
            if take <= 0:
                continue
            used[i] += take
            left -= take
            set_share(new_plan, i, c, take / whole)
        if left > 0:
            # does not fit: spread the rest evenly
            for i in range(n):
                set_share(new_plan, i, c, 1.0 / n)
