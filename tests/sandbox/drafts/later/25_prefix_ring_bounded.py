"""Consistent hashing with bounded loads: rendezvous order by prefix key, skip the overloaded."""

BOUND = 1.25  # tune: 1.05 .. 3.0
EXTRA = 2  # tune: 0 .. 8


def in_flight(inst):
    return max(inst.queued_requests, 0) + max(inst.running_requests, 0)


def key_of(request):
    if request.session >= 0:
        return request.session + 1000003
    if request.prefix_key >= 0:
        return request.prefix_key
    return request.seed


def route(request, instances, memory):
    total, count = 0, 0
    for inst in instances:
        if inst.starting or inst.draining or inst.role == DECODE:
            continue
        total += in_flight(inst)
        count += 1
    if count == 0:
        return HOLD
    cap = BOUND * (total + 1) / count + EXTRA
    key = key_of(request)
    choice, choice_h = None, -1.0
    spare = None
    for inst in instances:
        if inst.starting or inst.draining or inst.role == DECODE:
            continue
        if spare is None or in_flight(inst) < in_flight(spare):
            spare = inst
        if in_flight(inst) > cap:
            continue
        h = random01(key, inst.id)
        if h > choice_h:
            choice, choice_h = inst, h
    if choice is None:
        return spare.id
    return choice.id
