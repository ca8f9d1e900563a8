"""Admit only what the KV cache is forecast to hold until the batch drains."""

SAFETY = 0.92  # tune: 0.6 .. 1.0
DEFAULT_OUT = 300  # tune: 32 .. 2000
Z = 1.0  # tune: 0 .. 3
MIN_BATCH = 2


def upper_output(request):
    mean = request.predicted_output_tokens
    if is_missing(mean):
        return float(DEFAULT_OUT)
    err = 0.0 if is_missing(request.predicted_output_error) else request.predicted_output_error
    return mean * (1 + Z * err)


def admit(request, instance, memory):
    if instance.running_requests < MIN_BATCH:
        return True
    if instance.running_requests >= instance.max_num_seqs:
        return False
    now_free = instance.kv_capacity_tokens - instance.kv_used_tokens
    need_now = request.prompt_tokens + request.done_tokens - max(0, instance.cached_prefix_tokens)
    if need_now > now_free:
        return False
    forecast = instance.kv_predicted_tokens
    if is_missing(forecast):
        forecast = instance.kv_used_tokens + DEFAULT_OUT * 0.5 * instance.running_requests
    after = forecast + request.prompt_tokens + upper_output(request)
    return after <= SAFETY * instance.kv_capacity_tokens
