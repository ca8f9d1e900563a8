"""Shortest predicted job first: queues ordered by the work a request still needs.

The idea is shortest remaining processing time on predicted output lengths, which minimises the mean
and starves the long; so waiting earns credit. Requests go to the least loaded instance.
"""

UNKNOWN_TOKENS = 256.0  # tune: 16 .. 4096
CREDIT = 0.1  # tune: 0 .. 2
WAITING_WEIGHT = 4.0  # tune: 1 .. 16


def remaining_s(request, inst):
    output = request.predicted_output_tokens
    if is_missing(output):
        output = UNKNOWN_TOKENS
    decode_s = max(output - request.done_tokens, 1.0) * (inst.step_base_s + inst.step_per_seq_s)
    cached = max(inst.cached_prefix_tokens, 0)
    return prefill_time_s(inst, max(request.prompt_tokens - cached, 1)) + decode_s


def priority(request, instance, memory):
    key = remaining_s(request, instance) - CREDIT * request.age_s
    if is_missing(key):
        return -request.age_s
    return key


def route(request, instances, memory):
    best, least = instances[0].id, INF
    for inst in instances:
        load = WAITING_WEIGHT * inst.queued_requests + inst.running_requests
        if load < least:
            best, least = inst.id, load
    return best
