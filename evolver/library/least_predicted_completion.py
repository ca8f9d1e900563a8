"""Least predicted completion: where this request would be finished first.

The idea is queue + prefill + decode time from the modelled speed of each instance, the cached
prefix counted as done. Beyond a knee of KV use the prediction is made worse, because a preemption
would redo the work and the model of the time does not know it.
"""

KV_KNEE = 0.9  # tune: 0.5 .. 0.99
KV_PENALTY = 10.0  # tune: 0 .. 50
UNKNOWN_TOKENS = 256.0  # tune: 16 .. 4096


def kv_use_after(request, inst):
    output = request.predicted_output_tokens
    if is_missing(output):
        output = UNKNOWN_TOKENS
    queued = max(inst.queued_prompt_tokens, 0)
    tokens = inst.kv_used_tokens + queued + request.prompt_tokens + output
    return ratio(tokens, inst.kv_capacity_tokens, 0.0)


def route(request, instances, memory):
    best, soonest = instances[0].id, INF
    for inst in instances:
        over = max(kv_use_after(request, inst) - KV_KNEE, 0.0)
        finish = completion_s(request, inst) * (1.0 + KV_PENALTY * over)
        if finish < soonest:
            best, soonest = inst.id, finish
    return best
