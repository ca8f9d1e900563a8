"""Power of two choices: draw two live replicas at random, take the one with the shorter line."""

PREFILL_WEIGHT = 0.002  # tune: 0.0001 .. 0.02


def load(x):
    return x.queued_requests * 1.0 + x.running_requests + PREFILL_WEIGHT * x.queued_prompt_tokens


def route(request, instances, memory):
    live = [x for x in instances if not x.draining and not x.starting and x.role != DECODE]
    n = len(live)
    if n == 0:
        return HOLD
    if n == 1:
        return live[0].id
    i = int(random01(request.seed, 0) * n)
    j = int(random01(request.seed, 1) * (n - 1))
    if j >= i:
        j += 1
    a, b = live[i], live[j]
    return a.id if load(a) <= load(b) else b.id
