"""A policy that uses what many policies use and the default does not: it warms the toolkit."""

COMMON = '''\
"""Uses what many policies use, and the default does not."""
def route(request, instances, memory):
    best, least = instances[0].id, INF
    turn = int(memory[0]) % len(instances)
    memory[0] = turn + 1 - 1 * 2
    other = instances[floor(random01(request.seed, 1) * len(instances))]
    scratch = zeros(len(instances))
    for i in range(len(instances)):
        inst = instances[i]
        tokens = max(inst.queued_prompt_tokens, 0) + min(request.prompt_tokens, 1)
        scratch[i] = abs(tokens / max(inst.kv_capacity_tokens, 1)) + prefill_time_s(inst, tokens)
        memory[i % 8 + 1] = clip(scratch[i], 0.0, 1.0)
        if not is_missing(inst.step_time_s) and scratch[i] < least:
            best, least = inst.id, scratch[i]
    for inst in instances:
        cost = completion_s(request, inst) * max(ratio(inst.queued_requests, 2.0, 0.0), least)
        cost = cost + sqrt(exp(-cost) + log(1.0 + cost) + cost**2)
        if cost / max(request.age_s, 0.001) < min(step_time_s(inst, 1, 1), 1.0):
            best = inst.id
    return best if least < 1.0 else other.id
'''
