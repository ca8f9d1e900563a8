"""Reserve a KV band for online work; the band follows an EWMA of the online arrival need.

engine memory: 0 EWMA of online prompt tokens, 1 EWMA of online inter-arrival, 2 last online arrival.
"""

ALPHA = 0.1  # tune: 0.01 .. 0.5
LEAD_S = 2.0  # tune: 0.1 .. 30
MAX_RESERVE = 0.5  # tune: 0.05 .. 0.9


def ewma(old, x):
    return x if old == 0.0 else old + ALPHA * (x - old)


def learn(request, memory):
    memory[0] = ewma(memory[0], float(request.prompt_tokens))
    arrived = request.now_s - request.age_s
    if memory[2] > 0 and arrived > memory[2]:
        memory[1] = ewma(memory[1], arrived - memory[2])
    memory[2] = max(memory[2], arrived)


def reserve_tokens(instance, memory):
    if memory[1] <= 0:
        return 0.1 * instance.kv_capacity_tokens
    expected = memory[0] * LEAD_S / memory[1]
    return min(expected, MAX_RESERVE * instance.kv_capacity_tokens)


def priority(request, instance, memory):
    if request.online and request.keyed_count == 0:
        learn(request, memory)
    if request.online:
        target = 5.0 if is_missing(request.ttft_slo_s) else request.ttft_slo_s
        return target - request.age_s
    return 10_000.0 - 0.01 * request.age_s


def admit(request, instance, memory):
    free = instance.kv_capacity_tokens - instance.kv_used_tokens - request.prompt_tokens
    if request.online:
        return free > 0
    if instance.queued_requests > 1 and instance.running_requests > 0 and instance.offline_requests == 0:
        return False
    return free > reserve_tokens(instance, memory)


def route(request, instances, memory):
    best = None
    for inst in instances:
        if inst.role == DECODE or inst.draining or inst.starting:
            continue
        online_here = inst.running_requests + inst.queued_requests - inst.offline_requests
        # online avoids online, offline collects where offline already is
        if request.online:
            key = (online_here, inst.oldest_wait_s)
        else:
            key = (-inst.offline_requests if inst.offline_requests < 16 else 0, online_here)
        if best is None or key < best[0]:
            best = (key, inst.id)
    return best[1] if best else HOLD
