"""QLLM: urgent work passes best-effort work everywhere, and within each the quickest ends first.

Paper: QLLM (arXiv 2503.09304), of which the abstract was read.
Taken from the abstract: two kinds of work on one engine, latency-sensitive and best-effort; the
urgent kind does not wait for a batch of the other, best-effort work is put off and goes on later
without a loss of throughput; time to first token and turnaround of the urgent kind are what counts.
Inferred: online and offline for the two kinds; within a kind, the smallest product of KV held and
time holding it first, per weight, which is the order that lowers the sum of completion times where
KV is what is short, with credit for waiting; seats and KV that best-effort work may not take.
Left out: preemption between the experts of a layer, which needs an engine that can stop there: here
best-effort work gives way between steps.
"""

UNKNOWN_TOKENS = 256.0  # tune: 16 .. 4096
CREDIT = 0.05  # tune: 0 .. 2
OFFLINE_KV = 0.9  # tune: 0.1 .. 1
OFFLINE_SEATS = 0.75  # tune: 0.02 .. 1
TPOT_MARGIN = 0.9  # tune: 0.3 .. 1
LATER_S = 1e6  # tune: 1e3 .. 1e9


def output_tokens(request):
    if is_missing(request.predicted_output_tokens):
        return max(UNKNOWN_TOKENS - request.done_tokens, 1.0)
    return max(request.predicted_output_tokens - request.done_tokens, 1.0)


def held_s(request, inst):
    # Time to the end, weighted by the share of KV that it holds on the way.
    output, start = output_tokens(request), 1.0 * request.prompt_tokens + request.done_tokens
    cached = max(inst.cached_prefix_tokens, 0)
    batch = clip(inst.decoding_requests + 1, 1, max(inst.max_num_seqs, 1))
    step_s = step_time_s(inst, batch, inst.context_tokens)
    takes_s = prefill_time_s(inst, max(request.prompt_tokens - cached, 1)) + output * step_s
    share = ratio(start + 0.5 * output, inst.kv_capacity_tokens, 1.0)
    return takes_s * share


def priority(request, instance, memory):
    weight = 1.0
    if request.weight > 0.0:
        weight = request.weight
    key = held_s(request, instance) / weight - CREDIT * request.age_s
    if is_missing(key):
        key = -request.age_s
    if request.online:
        return key
    return LATER_S + clip(key, -0.5 * LATER_S, LATER_S)


def admit(request, instance, memory):
    if request.online or instance.running_requests <= 0:
        return True
    used = instance.kv_predicted_tokens
    if is_missing(used):
        used = 1.0 * instance.kv_used_tokens
    need = request.prompt_tokens + output_tokens(request)
    if used + need > OFFLINE_KV * instance.kv_capacity_tokens:
        return False
    # Nobody urgent may be made late by one more in the batch.
    context = instance.context_tokens + request.prompt_tokens
    step_s = step_time_s(instance, instance.decoding_requests + 1, context)
    return not step_s > TPOT_MARGIN * instance.tpot_slo_s


def tune(instance, memory):
    # With nobody urgent about, best-effort work may have every seat.
    share = 1.0
    others = instance.running_requests + instance.queued_requests - instance.offline_requests
    if others > 0:
        share = OFFLINE_SEATS
    set_offline_share(instance, share)


def route(request, instances, memory):
    best, least = instances[0].id, INF
    for inst in instances:
        load = completion_s(request, inst)
        if is_missing(load):
            load = 1.0 * inst.queued_requests + inst.running_requests
        if request.online and inst.offline_requests > 0:
            # What gives way does not count as work ahead.
            all_requests = max(inst.queued_requests + inst.running_requests, 1)
            load = load * (1.0 - 0.5 * clip(inst.offline_requests / all_requests, 0.0, 1.0))
        if inst.draining or inst.starting:
            load += LATER_S
        if load < least:
            best, least = inst.id, load
    return best
