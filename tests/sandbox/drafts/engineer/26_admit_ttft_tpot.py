"""Admit while the enlarged batch keeps every online request within TPOT; offline fills the rest."""

MARGIN = 0.95  # tune: 0.6 .. 1.1
OFFLINE_KV = 0.7  # tune: 0.2 .. 0.95
URGENT_SHARE = 0.8  # tune: 0.3 .. 1.0


def tightest(a, b):
    if is_missing(a):
        return b
    if is_missing(b):
        return a
    return min(a, b)


def admit(request, instance, memory):
    context = request.prompt_tokens + request.done_tokens
    kv_after = instance.kv_used_tokens + context
    if kv_after > instance.kv_capacity_tokens:
        return False
    if instance.running_requests == 0:
        return True
    if not request.online and kv_after > OFFLINE_KV * instance.kv_capacity_tokens:
        return False
    slo = tightest(request.tpot_slo_s, instance.tpot_slo_s)
    if is_missing(slo):
        return True
    step = step_time_s(instance, instance.running_requests + 1, instance.context_tokens + context)
    if step <= MARGIN * slo:
        return True
    # about to miss its first token: let it in anyway
    if request.online and not is_missing(request.ttft_slo_s):
        return request.age_s >= URGENT_SHARE * request.ttft_slo_s
    return False
