"""VTC: the tenant that was served least goes first, by a counter of the tokens it received.

Paper: Fairness in Serving Large Language Models (arXiv 2401.00588), Virtual Token Counter.
Taken: a counter per tenant of weighted input and output tokens, over the tenant's weight; whoever
waits and has the lowest is let in next; a tenant that had nothing waiting is lifted to the lowest
of those who have, or to the last who left: idling earns no credit; room is never left unused.
Inferred: output is charged by its predicted length when a request is let in, the paper's variant
with predictions, since no hook hears of tokens. Between two passes over the queue one tenant's
requests are lined up by what those before them will be charged: the counter at their turn.
Tenants beyond 30 share counters. A preempted request, unknown to the paper, is not charged again.
Left out: correcting a wrong prediction's charge; each engine counts for itself.
"""

INPUT_WEIGHT = 1.0  # tune: 0.1 .. 10
OUTPUT_WEIGHT = 2.0  # tune: 0.1 .. 10
UNKNOWN_TOKENS = 256.0  # tune: 16 .. 4096

# memory: 0 .. 29 counters; 30 .. 59 what each tenant's waiting requests will be charged; 60 the
# time of the latest pass; 61 the seed of the request charged last, plus 1; 62 the counter of the
# last to be let in.


def slot_of(request):
    return max(request.tenant, 0) % 30


def charge(request):
    output = request.predicted_output_tokens
    if is_missing(output):
        output = UNKNOWN_TOKENS
    tokens = INPUT_WEIGHT * request.prompt_tokens + OUTPUT_WEIGHT * output
    return ratio(tokens, request.weight, tokens)


def lift(slot, memory):
    lowest = INF
    for k in range(30):
        if memory[30 + k] > 0.0:
            lowest = min(lowest, memory[k])
    if lowest == INF:
        lowest = memory[62]
    memory[slot] = max(memory[slot], lowest)


def priority(request, instance, memory):
    slot = slot_of(request)
    if request.keyed_count > 0 and memory[60] != request.now_s:
        # A pass over the whole queue begins, in order of arrival: line everybody up anew.
        memory[60] = request.now_s
        for k in range(30):
            memory[30 + k] = 0.0
    if request.keyed_count <= 0 and memory[30 + slot] <= 0.0:
        lift(slot, memory)
    turn = memory[slot] + memory[30 + slot]
    if request.preempted_count <= 0:
        memory[30 + slot] = memory[30 + slot] + charge(request)
    return turn


def admit(request, instance, memory):
    free = instance.kv_capacity_tokens - instance.kv_used_tokens
    if instance.running_requests > 0 and request.prompt_tokens > free:
        return False  # it would not find room now, and is charged when it does
    slot = slot_of(request)
    if request.preempted_count <= 0 and memory[61] != request.seed + 1.0:
        memory[slot] = memory[slot] + charge(request)
        memory[30 + slot] = max(memory[30 + slot] - charge(request), 0.0)
        memory[61] = request.seed + 1.0
        memory[62] = memory[slot]
    return True
