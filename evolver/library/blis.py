"""BLIS weighted scorers: several scores between 0 and 1 for each engine, weighted and added up.

Published as code: inference-sim/inference-sim, whose scorers follow llm-d and the Gateway API's
inference extension (its routing guide was read); there is no paper of the scorers.
Taken: cached prefix and queue depth, both scaled between the lowest and the highest of the engines
and 1 where all are equal; free share of KV; one over one plus the load; weights 2, 1, 1 and 0, the
profile meant to match llm-d's. The highest sum wins. Guides of llm-d also show 3, 2, 2.
Inferred: ties are drawn at random, and a signal that a door does not show scores 1 everywhere.
Left out: filters, scorers for adapters and sessions, and the scorer for prompts without any match.
"""

PREFIX_WEIGHT = 2.0  # tune: 0 .. 8
QUEUE_WEIGHT = 1.0  # tune: 0 .. 8
KV_WEIGHT = 1.0  # tune: 0 .. 8
LOAD_WEIGHT = 0.0  # tune: 0 .. 8


def scaled(value, low, high):
    # 0 at the lowest, 1 at the highest, 1 where all are equal.
    return ratio(value - low, high - low, 1.0)


def route(request, instances, memory):
    prefixes = [max(inst.cached_prefix_tokens, 0) for inst in instances]
    queues = [max(inst.queued_requests, 0) for inst in instances]
    longest, shortest = max(prefixes), min(prefixes)
    deepest, emptiest = max(queues), min(queues)
    best, most, ties = instances[0].id, -1.0, 0
    for i in range(len(instances)):
        inst = instances[i]
        requests = 1.0 * queues[i] + max(inst.running_requests, 0)
        score = PREFIX_WEIGHT * scaled(prefixes[i], shortest, longest)
        score += QUEUE_WEIGHT * scaled(deepest - queues[i], 0, deepest - emptiest)
        score += KV_WEIGHT * (1.0 - ratio(inst.kv_used_tokens, inst.kv_capacity_tokens, 0.0))
        score += LOAD_WEIGHT * ratio(1.0, 1.0 + requests, 1.0)
        if score > most:
            best, most, ties = inst.id, score, 1
        elif score == most:
            ties += 1
            if random01(request.seed, i) * ties < 1.0:
                best = inst.id
    return best
