"""Admission control at the door: hold when all are full, reject when the deadline is hopeless."""

SAFETY = 1.15  # tune: 1.0 .. 2.0
MAX_HOLDS = 20  # tune: 1 .. 100
QUEUE_CAP = 32  # tune: 4 .. 128


def time_left(request):
    """Seconds until the request is worthless; a big number when nobody cares."""
    if not is_missing(request.deadline_s):
        return request.deadline_s
    if not is_missing(request.e2e_slo_s):
        return request.e2e_slo_s - request.age_s
    return 1e9


def route(request, instances, memory):
    left = time_left(request)
    if request.online and left < 0:
        return REJECT

    best, best_t = None, None
    any_open = False
    for inst in instances:
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        any_open = True
        if inst.queued_requests >= QUEUE_CAP:
            continue
        t = completion_s(request, inst)
        if best is None or t < best_t:
            best, best_t = inst, t

    if not any_open:
        return HOLD
    if best is None:
        if request.held_count >= MAX_HOLDS and request.online:
            return REJECT
        return HOLD
    if request.online and best_t * SAFETY > left and request.weight <= 1.0:
        return REJECT if best_t > left else best.id
    return best.id
