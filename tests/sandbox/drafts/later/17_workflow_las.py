"""Least attained service for agent workflows with discretised levels, FCFS within a level."""

BASE_S = 2.0  # tune: 0.2 .. 20
LEVELS = 8  # tune: 3 .. 12
PROMOTE_AFTER_S = 60.0  # tune: 5 .. 600


def level(served):
    bound = BASE_S
    for k in range(LEVELS):
        if served < bound:
            return k
        bound = bound * 2
    return LEVELS


def priority(request, instance, memory):
    served = request.workflow_served_s if request.workflow >= 0 else 0.0
    if is_missing(served):
        served = 0.0
    lv = level(served)
    # anti starvation: one level up for each PROMOTE_AFTER_S waited
    lv = max(0, lv - floor(request.age_s / PROMOTE_AFTER_S))
    if not request.online:
        lv += LEVELS
    arrival = request.now_s - request.age_s
    return lv * 1000000.0 + arrival


def evict(entry, instance, memory):
    keep = entry.tokens / (1.0 + entry.age_s)
    if entry.users > 0:
        keep = keep + 100000.0
    return keep
