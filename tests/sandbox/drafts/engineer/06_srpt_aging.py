"""Shortest predicted remaining work first in the queue, with ageing so nobody starves."""

AGE_CREDIT = 0.5  # tune: 0 .. 4
DEFAULT_OUTPUT = 256.0  # tune: 32 .. 2048
ERROR_MARGIN = 0.5  # tune: 0 .. 2


def remaining_tokens(request):
    total = request.predicted_output_tokens
    if is_missing(total):
        total = DEFAULT_OUTPUT
    err = request.predicted_output_error
    if not is_missing(err):
        total *= 1.0 + ERROR_MARGIN * err
    return max(1.0, total - request.done_tokens)


def priority(request, instance, memory):
    uncached = max(0, request.prompt_tokens - max(0, instance.cached_prefix_tokens))
    prefill = prefill_time_s(instance, uncached) if request.done_tokens == 0 else 0.0
    step = step_time_s(instance, max(1, instance.running_requests), instance.context_tokens)
    work = prefill + remaining_tokens(request) * step
    return work / max(request.weight, 0.01) - AGE_CREDIT * request.age_s
