"""Shortest predicted remaining work first, with linear aging so that nothing starves."""

AGE_GAIN = 40.0  # tune: 5 .. 400
DEFAULT_OUTPUT = 256.0  # tune: 64 .. 1024
UNCERTAINTY = 0.5  # tune: 0 .. 2
OFFLINE_PENALTY = 5000.0  # tune: 100 .. 50000


def remaining_output(request):
    guess = request.predicted_output_tokens
    if is_missing(guess):
        return DEFAULT_OUTPUT
    err = request.predicted_output_error
    if is_missing(err):
        err = 0.0
    # pessimistic about uncertain predictions
    total = guess * (1.0 + UNCERTAINTY * err)
    return max(total - request.done_tokens, 1.0)


def priority(request, instance, memory):
    prompt_left = request.prompt_tokens - max(instance.cached_prefix_tokens, 0)
    if request.done_tokens > 0:
        prompt_left = 0
    cost = 0.25 * prompt_left + remaining_output(request)
    penalty = 0.0 if request.online else OFFLINE_PENALTY
    return cost / max(request.weight, 0.01) + penalty - AGE_GAIN * request.age_s
