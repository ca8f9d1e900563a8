"""Shortest predicted job first with aging."""

AGE_WEIGHT = 12.0  # tune: 1 .. 100
FALLBACK_TOKENS = 256


def priority(request, instance, memory):
    predicted = request.predicted_output_tokens
    if is_missing(predicted):
        predicted = FALLBACK_TOKENS
    left = max(1.0, predicted - request.done_tokens)
    return left - AGE_WEIGHT * request.age_s
