"""Prefix affinity: follow the longest cached prefix while the loads are even, else balance.

The idea is the cache-aware router of SGLang: a match counts when it covers a good part of the
prompt, and affinity is suspended while the busiest instance has much more to do than the idlest.
A door that cannot see the caches follows the session instead.
"""

MATCH = 0.5  # tune: 0.05 .. 0.95
UNEVEN_REQUESTS = 32.0  # tune: 2 .. 256
UNEVEN_FACTOR = 1.5  # tune: 1.0 .. 8


def load(inst):
    return 1.0 * inst.queued_requests + inst.running_requests


def route(request, instances, memory):
    idlest, least, most = instances[0].id, INF, 0.0
    nearest, longest = -1, 0
    stays = False
    for inst in instances:
        now = load(inst)
        most = max(most, now)
        if now < least:
            idlest, least = inst.id, now
        if inst.cached_prefix_tokens > longest:
            nearest, longest = inst.id, inst.cached_prefix_tokens
        if inst.id == request.last_instance and inst.cached_prefix_tokens < 0:
            stays = True
    if most - least > UNEVEN_REQUESTS and most > UNEVEN_FACTOR * least:
        return idlest
    if nearest >= 0 and longest >= MATCH * request.prompt_tokens:
        return nearest
    if stays:
        return request.last_instance
    return idlest
