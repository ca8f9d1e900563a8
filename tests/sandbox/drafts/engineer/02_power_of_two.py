"""Power of two choices on queue plus running, with deterministic draws from the request seed."""


def load(inst):
    return inst.queued_requests + inst.running_requests


def route(request, instances, memory):
    ok = [k for k, inst in enumerate(instances) if inst.role != DECODE and not inst.draining]
    n = len(ok)
    if n == 0:
        return HOLD
    a = int(random01(request.seed, 0) * n)
    b = int(random01(request.seed, 1) * (n - 1)) if n > 1 else a
    if n > 1 and b >= a:
        b += 1
    first, second = instances[ok[a]], instances[ok[b]]
    return first.id if load(first) <= load(second) else second.id
