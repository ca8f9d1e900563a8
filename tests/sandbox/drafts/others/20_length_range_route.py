"""Respect the plan's length ranges, then completion time; step outside them when overloaded."""

OUT_OF_RANGE = 1.8  # tune: 1.0 .. 6.0
SHARE_PULL = 0.3  # tune: 0.0 .. 2.0


def length_of(request):
    out = request.predicted_output_tokens
    return request.prompt_tokens + (0 if is_missing(out) else int(out))


def route(request, instances, memory):
    n = length_of(request)
    best_cost, best_id = 1e300, HOLD
    total_share = sum([i.share for i in instances if not i.draining])
    total_load = sum(i.queued_requests + i.running_requests for i in instances)
    for i in instances:
        if i.draining or i.starting or i.role == DECODE: continue
        cost = completion_s(request, i)
        if not (i.length_low_tokens <= n <= i.length_high_tokens):
            cost *= OUT_OF_RANGE
        if total_share > 0 and total_load > 0:
            planned = i.share / total_share
            actual = (i.queued_requests + i.running_requests) / total_load
            cost *= 1 + SHARE_PULL * max(0.0, actual - planned)
        if cost < best_cost:
            best_cost = cost
            best_id = i.id
    return best_id
