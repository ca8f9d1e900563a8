"""Policies that the tests of the host route with."""

SHORTEST = '''
"""Fewest requests queued and running; counts its decisions."""

WEIGHT = 1.0  # tune: 0.5 .. 2.0


def route(request, instances, memory):
    memory[0] = memory[0] + 1.0
    best, fewest = instances[0].id, INF
    for inst in instances:
        load = WEIGHT * inst.queued_requests + inst.running_requests
        if load < fewest:
            best, fewest = inst.id, load
    return best
'''
LATE_DIVISION = '''
"""Divides by what is zero only once it is live."""


def route(request, instances, memory):
    if request.prompt_tokens == 777:
        return instances[0].id // (request.prompt_tokens - 777)
    return instances[0].id
'''
