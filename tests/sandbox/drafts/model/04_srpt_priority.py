"""Shortest predicted remaining work first, with aging so that long requests do not starve."""

AGING = 40.0  # tune: 1 .. 400
FALLBACK_OUTPUT = 300.0  # tune: 50 .. 2000
ERROR_WEIGHT = 0.5  # tune: 0.0 .. 2.0


def priority(request, instance, memory):
    out = request.predicted_output_tokens
    err = request.predicted_output_error
    if is_missing(out):
        out = FALLBACK_OUTPUT
    elif not is_missing(err):
        out *= 1 + ERROR_WEIGHT * err
    left = max(out - request.done_tokens, 1.0)
    todo = request.prompt_tokens - instance.cached_prefix_tokens if request.done_tokens == 0 else 0
    seconds = ratio(max(todo, 0), instance.prefill_tokens_per_s, 0.0) + left * instance.step_base_s
    # preempted requests paid already
    bonus = 1 + request.preempted_count
    return seconds - request.age_s * bonus / AGING


def route(request, instances, memory):
    # the order inside hides long requests, so count heads, not tokens
    best = (1e18, HOLD)
    for x in instances:
        if x.role == DECODE or x.draining or x.starting:
            continue
        best = min(best, (x.running_requests + 1.5 * x.queued_requests, x.id))
    return best[1]
