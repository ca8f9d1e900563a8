"""Join the shortest queue, ties broken by prefix hits and then at random."""


def route(request, instances, memory):
    return min(
        [i for i in instances if not i.draining and not i.starting] or instances,
        key=lambda i: (i.queued_requests + i.running_requests, -i.cached_prefix_tokens, random01(request.seed, i.id)),
    ).id
