"""Tenant fairness: virtual service counters per hashed tenant, as in VTC.

Engine memory slots 0..31 hold the tokens served per tenant bucket, slot 32 the floor.
"""

BUCKETS = 32
FLOOR = 32
OUTPUT_COST = 2.0  # tune: 1 .. 6
AGE_RELIEF = 5.0  # tokens of credit per second waited  # tune: 0 .. 200


def bucket(request) -> int:
    return request.tenant % BUCKETS


def cost(request) -> float:
    out = request.predicted_output_tokens
    if is_missing(out):
        out = 200.0
    w = request.weight if request.weight > 0 else 1.0
    return (request.prompt_tokens + OUTPUT_COST * out) / w


def priority(request, instance, memory) -> float:
    b = bucket(request)
    if request.keyed_count == 0 and memory[b] < memory[FLOOR]:
        memory[b] = memory[FLOOR]       # a tenant back from idling gets no stored credit
    return memory[b] - AGE_RELIEF * request.age_s


def admit(request, instance, memory) -> bool:
    fits = instance.kv_used_tokens + request.prompt_tokens < instance.kv_capacity_tokens
    if not fits:
        return False
    b = bucket(request)
    memory[b] += cost(request)
    active = [memory[i] for i in range(BUCKETS) if memory[i] > 0]
    if len(active) > 0:
        memory[FLOOR] = max(memory[FLOOR], min(active))
    return True
