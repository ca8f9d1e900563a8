"""Rendezvous hashing on the prefix key with bounded loads."""

BOUND = 1.25  # tune: 1.0 .. 3.0
SALT = 7919


def key_of(request):
    if request.session >= 0:
        return request.session
    if request.prefix_key >= 0:
        return request.prefix_key
    return request.seed


def route(request, instances, memory):
    live = [i for i in instances if not i.draining and not i.starting and i.role != DECODE]
    if len(live) == 0:
        return HOLD
    loads = [i.queued_requests + i.running_requests for i in live]
    cap = ceil(BOUND * (sum(loads) + 1) / len(live))

    key = key_of(request) % 2_000_000_011
    order_ = sorted(zip(live, loads), key=lambda p: random01(key, p[0].id * SALT), reverse=True)
    for inst, load in order_:
        if load < cap:
            return inst.id
    return order_[0][0].id
