"""Tenant fairness: deficit counters per tenant in engine memory, the most underserved goes first."""

TENANTS = 32
SERVED = 0  # memory[0 .. 31]: weighted tokens served, decayed
STAMP = 32  # time of the last decay
HALF_LIFE_S = 60.0  # tune: 5 .. 600
LOG_HALF = 0.6931
AGE_CREDIT = 50.0  # tune: 0 .. 500
NEW_OUTPUT = 128.0


def slot_of(request):
    return SERVED + request.tenant % TENANTS


def decay(memory, now):
    dt = now - memory[STAMP]
    if dt <= 0.25:
        return
    f = exp(-LOG_HALF * dt / HALF_LIFE_S)
    for i in range(TENANTS):
        memory[SERVED + i] *= f
    memory[STAMP] = now


def cost_tokens(request):
    out = request.predicted_output_tokens
    return request.prompt_tokens + 2.0 * (NEW_OUTPUT if is_missing(out) else out)


def priority(request, instance, memory):
    decay(memory, request.now_s)
    lowest = min(memory[SERVED + i] for i in range(TENANTS))
    served = memory[slot_of(request)] - lowest
    return served - AGE_CREDIT * request.age_s


def admit(request, instance, memory):
    room = instance.kv_capacity_tokens - instance.kv_used_tokens
    if instance.running_requests > 0 and room < request.prompt_tokens + 64:
        return False
    w = request.weight if request.weight > 0 else 1.0
    memory[slot_of(request)] += cost_tokens(request) / w
    return True
