"""Deficit fairness over tenants: service counters in memory, hashed into buckets."""

BUCKETS = 48  # tune: 16 .. 60
DECAY = 0.995  # tune: 0.9 .. 0.9999
URGENCY = 3.0  # tune: 0.1 .. 20

CLOCK = 62
TOTAL = 63


def bucket(request) -> int:
    return request.tenant % BUCKETS if request.tenant >= 0 else 0


def service_cost(request) -> float:
    out = 256.0 if is_missing(request.predicted_output_tokens) else request.predicted_output_tokens
    return (request.prompt_tokens + 2.0 * out) / max(request.weight, 0.1)


def decay_all(memory, now_s):
    elapsed = now_s - memory[CLOCK]
    if elapsed < 1.0:
        return
    factor = exp(log(DECAY) * min(elapsed, 600.0))
    for b in range(BUCKETS):
        memory[b] *= factor
    memory[TOTAL] *= factor
    memory[CLOCK] = now_s


def priority(request, instance, memory) -> float:
    decay_all(memory, request.now_s)
    b = bucket(request)
    if request.keyed_count == 0 and request.done_tokens == 0:
        c = service_cost(request)
        memory[b] += c
        memory[TOTAL] += c
    mean = memory[TOTAL] / BUCKETS
    deficit = ratio(memory[b], mean, 1.0)
    slack = 0.0
    if not is_missing(request.ttft_slo_s):
        slack = clip((request.ttft_slo_s - request.age_s) / max(request.ttft_slo_s, 0.001), -1.0, 1.0)
    return deficit + URGENCY * slack
