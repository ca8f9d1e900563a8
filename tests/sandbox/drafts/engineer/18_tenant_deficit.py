"""Tenant fairness: deficit counters per tenant bucket, served work is charged, deficits decay.

Scope engine: memory[b] for b in 0..31 is service charged to tenants hashed to b; memory[32] is the
time of the last decay.
"""

BUCKETS = 32
DECAY_PER_S = 0.02  # tune: 0.001 .. 0.5
WEIGHT_S = 0.001  # tune: 0.0001 .. 0.1
AGE_WEIGHT = 1.0  # tune: 0 .. 5
LAST = 32


def bucket(tenant):
    return tenant % BUCKETS


def cost_tokens(request):
    out = request.predicted_output_tokens
    if is_missing(out):
        out = 256.0
    return (request.prompt_tokens + 4.0 * out) / max(0.05, request.weight)


def decay(memory, now_s):
    dt = now_s - memory[LAST]
    if dt < 1.0:
        return
    f = exp(-DECAY_PER_S * dt)
    for b in range(BUCKETS):
        memory[b] *= f
    memory[LAST] = now_s


def priority(request, instance, memory):
    decay(memory, request.now_s)
    served = memory[bucket(request.tenant)]
    floor_served = min(memory[b] for b in range(BUCKETS))
    return WEIGHT_S * (served - floor_served) - AGE_WEIGHT * request.age_s


def admit(request, instance, memory):
    room = instance.kv_capacity_tokens - instance.kv_used_tokens
    if request.prompt_tokens + 64 > room:
        return False
    # Charge on admission; a preempted request has been charged before.
    if request.preempted_count == 0:
        memory[bucket(request.tenant)] += cost_tokens(request)
    return True


def route(request, instances, memory):
    pick, fewest = HOLD, None
    for inst in instances:
        if inst.role == DECODE or inst.draining or inst.starting:
            continue
        crowd = inst.queued_requests + 2 * inst.tenant_requests
        if fewest is None or crowd < fewest:
            pick, fewest = inst.id, crowd
    return pick
