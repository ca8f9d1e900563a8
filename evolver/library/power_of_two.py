"""Power of two choices: draw two instances at random and take the less loaded.

The idea is Mitzenmacher's (2001): two random choices avoid nearly all of the imbalance of one, and
routers that see stale loads do not all run to the same instance.
"""

WAITING_WEIGHT = 4.0  # tune: 1 .. 16


def load(inst):
    return WAITING_WEIGHT * inst.queued_requests + inst.running_requests


def route(request, instances, memory):
    count = len(instances)
    one = min(floor(random01(request.seed, 0) * count), count - 1)
    if count == 1:
        return instances[one].id
    step = 1 + min(floor(random01(request.seed, 1) * (count - 1)), count - 2)
    other = (one + step) % count
    if load(instances[other]) < load(instances[one]):
        return instances[other].id
    return instances[one].id
