"""Dynamo: the worker with the least work, prompt tokens to compute and KV in use added up.

Published as code: ai-dynamo/dynamo (its router's documentation and selector were read).
Taken: the cost of a worker is a weight times the prompt blocks it would have to compute with this
request (its prefill backlog, and what of this prompt is not cached there) plus the blocks that
its requests would occupy; the lowest cost wins, or with a temperature a draw by softmax over the
costs scaled to 0 .. 1; behind a disaggregated prefill only the occupied blocks count.
Inferred: tokens instead of blocks, which only round; the whole prompt as newly occupied, since
what it would share with running requests is in no record.
Left out: refusing workers above a busy threshold, the router's own queue, shared-cache tiers.
"""

OVERLAP_WEIGHT = 1.0  # tune: 0 .. 8
TEMPERATURE = 0.0  # tune: 0 .. 2


def prefill_tokens(request, inst):
    own = request.prompt_tokens - max(inst.cached_prefix_tokens, 0)
    waiting = max(inst.queued_prompt_tokens, 0) + max(inst.prefill_backlog_tokens, 0)
    return 1.0 * max(own, 0) + waiting


def occupied_tokens(request, inst):
    # What waits there will occupy as much as it has prompt tokens to compute.
    waiting = max(inst.queued_prompt_tokens, 0)
    return 1.0 * max(inst.kv_used_tokens, 0) + waiting + request.prompt_tokens


def drawn(costs, seed):
    # Position of the least cost, or one drawn by softmax over the costs scaled to 0 .. 1.
    least, most, best = INF, 0.0, 0
    for i in range(len(costs)):
        most = max(most, costs[i])
        if costs[i] < least:
            least, best = costs[i], i
    if TEMPERATURE <= 0.0 or most <= least:
        return best
    total = 0.0
    for cost in costs:
        total += exp((least - cost) / (most - least) / TEMPERATURE)
    left = random01(seed, 0) * total
    for i in range(len(costs)):
        left -= exp((least - costs[i]) / (most - least) / TEMPERATURE)
        if left < 0.0:
            return i
    return best


def route(request, instances, memory):
    costs = [
        OVERLAP_WEIGHT * prefill_tokens(request, inst) + occupied_tokens(request, inst)
        for inst in instances
    ]
    return instances[drawn(costs, request.seed)].id


def route_decode(request, instances, memory):
    costs = [occupied_tokens(request, inst) for inst in instances]
    return instances[drawn(costs, request.seed)].id
