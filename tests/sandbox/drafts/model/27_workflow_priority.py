"""Workflow-aware order: least attained service first, in a few exponential levels, then by age."""

LEVELS = 6
Q0_S = 2.0  # tune: 0.2 .. 20
STRETCH = 0.5  # tune: 0 .. 2


def level(served):
    lim = Q0_S
    for k in range(LEVELS):
        if served < lim:
            return k
        lim *= 2
    return LEVELS


def slowdown(r):
    h = r.workflow_horizon_s
    if r.workflow < 0 or is_missing(h) or h <= 0:
        return 1.0
    return max(1.0, r.workflow_age_s / h)


def priority(request, instance, memory):
    if request.workflow < 0:
        lv = 1
    elif not is_missing(request.workflow_remaining_s):
        lv = level(request.workflow_remaining_s)
    else:
        lv = level(request.workflow_served_s)
    base = lv * 1000.0
    base -= STRETCH * 100.0 * (slowdown(request) - 1.0)
    base -= min(request.age_s, 900.0)
    if not request.online:
        base += 5000.0
    return base


def branches(request, branches, memory):
    # fewer samples for a workflow that is already far behind
    n = len(branches) if len(branches) > 0 else max(request.branch_count, 1)
    if slowdown(request) < 3.0:
        return n
    alive = [b for b in branches if not (b.finished or b.pruned)]
    alive.sort(key=lambda b: (0 if is_missing(b.score) else b.score, b.done_tokens))
    for b in alive[: len(alive) // 2]:
        prune(b)
    return max(1, n - len(alive) // 2)
