"""Offline work as a valve: open slowly when online is comfortable, shut at once when it is not."""

OPEN = 0.05  # tune: 0.005 .. 0.5
SHUT = 0.5  # tune: 0.05 .. 0.95
MAX_SHARE = 0.6  # tune: 0.1 .. 1.0
WAIT_LIMIT_S = 0.5  # tune: 0.05 .. 10
FINETUNE_MAX = 0.3  # tune: 0 .. 0.9
IDLE_KV = 0.3  # tune: 0.05 .. 0.8


def stressed(instance):
    if not is_missing(instance.oldest_wait_s) and instance.oldest_wait_s > WAIT_LIMIT_S:
        return True
    if instance.preemptions > 0:
        return True
    slo, step = instance.tpot_slo_s, instance.step_time_s
    return not is_missing(slo) and not is_missing(step) and step > slo


def tune(instance, memory):
    share = memory[0]
    if stressed(instance):
        share *= 1 - SHUT
    else:
        share = min(MAX_SHARE, share + OPEN)
    memory[0] = share
    set_offline_share(instance, share)
    kv = ratio(instance.kv_used_tokens, instance.kv_capacity_tokens, 1.0)
    idle = kv < IDLE_KV and instance.queued_requests == 0
    memory[1] = clip(memory[1] + (0.02 if idle else -0.1), 0.0, FINETUNE_MAX)
    set_finetune_share(instance, memory[1])


def priority(request, instance, memory):
    base = 0.0 if request.online else 1000.0
    return base - request.age_s
