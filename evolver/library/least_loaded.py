"""Least loaded: the instance with the fewest requests, a waiting one counting for several.

The idea is the score of vLLM's data-parallel load balancer, which weighs a waiting request as four
running ones: a queue means that the batch is full.
"""

WAITING_WEIGHT = 4.0  # tune: 1 .. 16


def route(request, instances, memory):
    best, least = instances[0].id, INF
    for inst in instances:
        load = WAITING_WEIGHT * inst.queued_requests + inst.running_requests
        if load < least:
            best, least = inst.id, load
    return best
