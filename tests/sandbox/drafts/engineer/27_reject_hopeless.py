"""Admission at the door: reject requests whose deadline no instance can meet, hold when all full."""

SLACK = 1.3  # tune: 0.5 .. 4
MAX_HOLDS = 30  # tune: 1 .. 200
FULL_QUEUE = 64  # tune: 4 .. 512


def time_left(request: Request) -> float:
    left = 1e9
    if not is_missing(request.deadline_s):
        left = min(left, request.deadline_s)
    if not is_missing(request.e2e_slo_s):
        left = min(left, request.e2e_slo_s - request.age_s)
    return left


def route(request: Request, instances: Rows, memory: Memory) -> int:
    best: float | None = None
    best_id = HOLD
    everyone_full = True
    for inst in instances:
        if inst.role == DECODE or inst.draining or inst.starting:
            continue
        if inst.queued_requests >= FULL_QUEUE:
            continue
        everyone_full = False
        t = completion_s(request, inst)
        if best is None or t < best:
            best = t
            best_id = inst.id
    if everyone_full:
        if request.held_count >= MAX_HOLDS and request.online:
            return REJECT
        return HOLD
    if request.online and best > SLACK * time_left(request) and time_left(request) < 1e8:
        return REJECT
    return best_id
