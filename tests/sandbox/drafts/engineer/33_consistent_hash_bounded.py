"""Rendezvous hashing on the prefix key with bounded load, so shared prompts land together.

Every (key, instance) pair gets a draw; the highest draw among instances whose load is within
BOUND of the average wins. Without a key we take the least loaded.
"""

BOUND = 1.25  # tune: 1.02 .. 3.0
SLACK = 2.0  # tune: 0 .. 16


def route(request, instances, memory):
    live = [inst for inst in instances if inst.role != DECODE and not (inst.draining or inst.starting)]
    if len(live) == 0:
        return HOLD
    loads = [inst.queued_requests + inst.running_requests for inst in live]
    limit = BOUND * sum(loads) / len(live) + SLACK

    if request.prefix_key < 0 and request.session < 0:
        least = min(range(len(live)), key=lambda k: loads[k])
        return live[least].id

    key = request.prefix_key if request.prefix_key >= 0 else request.session
    best_draw, best_inst = -1.0, None
    for inst, load in zip(live, loads):
        if load > limit:
            continue
        draw = random01(key, inst.id)
        if draw > best_draw:
            best_draw, best_inst = draw, inst
    return best_inst.id if best_inst is not None else live[0].id
