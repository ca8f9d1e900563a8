"""Partition replicas among traffic classes in proportion to their load, largest remainder."""

HEADROOM = 1.2  # tune: 1.0 .. 2.0
SHIFT = 0.3  # tune: 0.05 .. 1.0
MIN_PERIOD_S = 200.0  # tune: 20 .. 1200


def class_loads(window, shape):
    loads = []
    for row in window.classes:
        if row.class_id == 0:
            continue
        cap = shape.class_rate_rps[row.class_id]
        loads.append((row.class_id, ratio(row.rate_rps * HEADROOM, cap, 0.0)))
    return loads


def largest_remainder(loads, n):
    total = sum(l for _, l in loads)
    if total <= 0:
        return [0] * len(loads)
    quotas = [l / total * n for _, l in loads]
    counts = [floor(q) for q in quotas]
    left = n - sum(counts)
    by_rest = sorted(range(len(loads)), key=lambda k: quotas[k] - counts[k], reverse=True)
    for k in by_rest[:left]:
        counts[k] += 1
    return counts


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible or window.capacity_changed:
        return True
    if window.since_plan_s < MIN_PERIOD_S:
        return False
    changed = False
    for row in window.classes:
        if row.class_id == 0:
            continue
        old = memory[row.class_id]
        if abs(row.rate_rps - old) > SHIFT * max(old, 0.1):
            changed = True
    return changed


def schedule(window, cluster, plan, new_plan, memory):
    for row in window.classes:
        memory[row.class_id] = row.rate_rps

    made = []
    ref = None
    for p, pool in enumerate(cluster.pools):
        best = None
        for s in cluster.shapes:
            if s.pool == p and s.gpus <= pool.present - pool.leaving:
                if best is None or s.rate_rps * best.gpus > best.rate_rps * s.gpus:
                    best = s
        if best is None:
            continue
        if ref is None or best.rate_rps > ref.rate_rps:
            ref = best
        for _ in range((pool.present - pool.leaving) // best.gpus):
            idx = add_replica(new_plan, p, best.tp, best.pp, MIXED)
            if idx >= 0:
                made.append(idx)
    if ref is None or not made:
        keep_plan(new_plan, plan)
        return

    loads = class_loads(window, ref)
    if len(loads) < 2 or len(made) < len(loads):
        return     # everybody serves everything
    counts = largest_remainder(loads, len(made))
    pos = 0
    for (cid, load), c in zip(loads, counts):
        if c == 0:
            # too small for its own replica: spread it over all
            for idx in made:
                set_share(new_plan, idx, cid, 1.0 / len(made))
            continue
        mine = made[pos:pos + c]
        for idx in made:
            set_share(new_plan, idx, cid, 1.0 / c if idx in mine else 0.0)
        pos += c
