"""Admit only while the forecast KV use stays under a ceiling that learns from preemptions."""

START_CEILING = 0.95  # tune: 0.7 .. 1.0
STEP_DOWN = 0.03  # tune: 0.005 .. 0.1
STEP_UP = 0.0005  # tune: 0.0001 .. 0.01
LOWEST = 0.6  # tune: 0.3 .. 0.8

CEILING, SEEN = 0, 1


def expected_tokens(request):
    out = request.predicted_output_tokens
    if is_missing(out):
        return request.prompt_tokens + 256
    err = request.predicted_output_error
    margin = 1.0 if is_missing(err) else 1.0 + 0.5 * min(err, 1.0)
    return request.prompt_tokens + out * margin


def admit(request, instance, memory):
    if memory[CEILING] == 0:
        memory[CEILING] = START_CEILING
    if instance.preemptions > memory[SEEN]:
        memory[CEILING] = max(LOWEST, memory[CEILING] - STEP_DOWN)
    else:
        memory[CEILING] = min(START_CEILING, memory[CEILING] + STEP_UP)
    memory[SEEN] = instance.preemptions

    if instance.running_requests == 0:
        return True   # never starve an empty engine
    if instance.running_requests >= instance.max_num_seqs:
        return False

    forecast = instance.kv_predicted_tokens
    if is_missing(forecast):
        forecast = instance.kv_used_tokens + 128 * instance.running_requests
    return forecast + expected_tokens(request) <= memory[CEILING] * instance.kv_capacity_tokens
