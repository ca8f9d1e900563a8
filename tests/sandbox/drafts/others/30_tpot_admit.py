"""Admit a request only if the bigger batch still meets the tightest TPOT target."""

SAFETY = 0.95  # tune: 0.6 .. 1.1
STARVE_S = 5.0  # tune: 0.5 .. 60


def admit(request, instance, memory):
    if request.age_s > STARVE_S:
        return True
    limits = [x for x in (instance.tpot_slo_s, request.tpot_slo_s) if not is_missing(x)]
    if not limits:
        return instance.kv_used_tokens + request.prompt_tokens <= instance.kv_capacity_tokens
    t = step_time_s(instance, instance.decoding_requests + 1, instance.context_tokens + request.prompt_tokens)
    if not request.online:
        t *= 1.2
    return t <= SAFETY * min(limits)
