"""Join the shortest queue."""


def route(request, instances, memory):
    ids = [(i.queued_requests + i.running_requests, i.id) for i in instances if not i.draining and i.role != DECODE]
    return min(ids)[1] if ids else HOLD
