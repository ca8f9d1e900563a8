"""Rendezvous hashing of the prefix key over live replicas, spilling over to the second choice."""

SPILL = 1.4  # tune: 1.05 .. 4.0
SLACK = 3  # tune: 0 .. 20


def weight(key: int, inst: Instance) -> float:
    return random01(key, inst.id)


def busy(inst: Instance) -> int:
    return inst.queued_requests + inst.running_requests


def route(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    first = second = None
    w1 = w2 = -1.0
    total, count = 0, 0
    key = request.prefix_key if request.prefix_key >= 0 else request.seed
    for inst in instances:
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        total += busy(inst)
        count += 1
        w = weight(key, inst)
        if w > w1:
            second, w2 = first, w1
            first, w1 = inst, w
        elif w > w2:
            second, w2 = inst, w
    if first is None:
        return HOLD
    if second is None:
        return first.id
    bound = SPILL * total / count + SLACK
    if busy(first) <= bound:
        return first.id
    if busy(second) < busy(first):
        return second.id
    return first.id
