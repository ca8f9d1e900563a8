"""First-fit decreasing: pack class demands into replicas, one or more classes per replica.

Each class needs rate / class_rate of a replica; biggest needs are placed first, into the fullest
replica with room, opening a new one when none has.
"""

TARGET_FILL = 0.85  # tune: 0.5 .. 1.0
MAX_OPEN = 64
PERIOD_S = 420.0  # tune: 60 .. 3600


def best_shape_for(cluster, class_id, free):
    best, best_value = -1, 0.0
    for k, s in enumerate(cluster.shapes):
        if free[s.pool] < s.gpus:
            continue
        r = s.class_rate_rps[class_id]
        if is_missing(r):
            continue
        value = r / s.gpus
        if value > best_value:
            best, best_value = k, value
    return best


def should_reschedule(window, cluster, plan, memory):
    return not window.plan_feasible or window.since_plan_s > PERIOD_S or window.capacity_changed


def schedule(window, cluster, plan, new_plan, memory):
    free = [max(0, p.present - p.leaving) for p in cluster.pools]
    room = zeros(MAX_OPEN)
    shape_of = zeros(MAX_OPEN)
    opened = 0

    demands = [(c.rate_rps, c.class_id) for c in window.classes if c.class_id > 0 and c.rate_rps > 0]
    demands = sorted(demands, reverse=True)

    for rate, class_id in demands:
        left = rate
        # existing replicas first, the fullest that still has room
        for i in range(opened):
            if left <= 0:
                break
            s = cluster.shapes[int(shape_of[i])]
            cap = s.class_rate_rps[class_id]
            if is_missing(cap) or cap <= 0 or room[i] <= 0.02:
                continue
            take = min(left, room[i] * cap)
            room[i] -= take / cap
            left -= take
            set_share(new_plan, i, class_id, take / rate)
        # then open new ones
        for _ in range(MAX_OPEN):
            if left <= 0 or opened >= MAX_OPEN:
                break
            k = best_shape_for(cluster, class_id, free)
            if k < 0:
                break
            s = cluster.shapes[k]
            i = add_replica(new_plan, s.pool, s.tp, s.pp, MIXED)
            if i < 0:
                break
            for c in range(1, MAX_CLASSES):
                set_share(new_plan, i, c, 0.0)
            free[s.pool] -= s.gpus
            cap = s.class_rate_rps[class_id]
            take = min(left, TARGET_FILL * cap)
            room[i] = TARGET_FILL - take / cap
            shape_of[i] = k
            opened += 1
            left -= take
            set_share(new_plan, i, class_id, take / rate)

    if opened == 0:
        keep_plan(new_plan, plan)
