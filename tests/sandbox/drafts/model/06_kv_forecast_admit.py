"""Admit only if the forecast of KV use, with this request at its predicted length, still fits."""

HEADROOM = 0.04  # tune: 0.0 .. 0.3
ERROR_MARGIN = 0.6  # tune: 0.0 .. 2.0
DEFAULT_OUTPUT = 400.0  # tune: 100 .. 2000
DISCOUNT = 0.8  # tune: 0.3 .. 1.0
MAX_WAIT_S = 8.0  # tune: 1.0 .. 60.0


def predicted_final_tokens(request):
    out = DEFAULT_OUTPUT if is_missing(request.predicted_output_tokens) else request.predicted_output_tokens
    err = 0.3 if is_missing(request.predicted_output_error) else request.predicted_output_error
    return request.prompt_tokens + max(out * (1.0 + ERROR_MARGIN * err), request.done_tokens)


def engine_forecast(instance):
    now = instance.kv_used_tokens
    later = instance.kv_predicted_tokens
    if is_missing(later):
        later = now + 0.5 * DEFAULT_OUTPUT * instance.running_requests
    # not all of them peak together
    return now + DISCOUNT * max(0.0, later - now)


def admit(request, instance, memory):
    if instance.running_requests == 0:
        return True
    capacity = instance.kv_capacity_tokens * (1 - HEADROOM)
    need = predicted_final_tokens(request)
    if engine_forecast(instance) + need <= capacity:
        return True
    # waited too long: be optimistic, only what it needs right now must fit
    if request.age_s > MAX_WAIT_S:
        return instance.kv_used_tokens + request.prompt_tokens + request.done_tokens < capacity
    return False


def route(request, instances, memory):
    need = predicted_final_tokens(request)
    roomiest, room = HOLD, None
    for x in instances:
        if x.role == DECODE or x.draining or x.starting:
            continue
        r = 1.0 - (engine_forecast(x) + x.queued_prompt_tokens + need) / max(x.kv_capacity_tokens, 1)
        if room is None or r > room:
            roomiest, room = x.id, r
    return roomiest
