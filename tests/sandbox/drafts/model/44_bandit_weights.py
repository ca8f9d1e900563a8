"""Two-arm learning router: cache-first or load-first, the arm with the lower smoothed queueing wins."""

EXPLORE = 0.05  # tune: 0.0 .. 0.3
ALPHA = 0.02  # tune: 0.001 .. 0.2
EPOCH = 64
ARM, COUNT, SUM = 0, 1, 2
VALUE = 4  # memory[4], memory[5]


def pressure(rows):
    waits = [x.oldest_wait_s for x in rows if not is_missing(x.oldest_wait_s)]
    return sum(waits) / len(waits) if waits else 0.0


def next_arm(request, memory):
    arm = int(memory[ARM])
    memory[COUNT] += 1
    if memory[COUNT] < EPOCH:
        return arm
    mean = memory[SUM] / memory[COUNT]
    memory[VALUE + arm] += 10 * ALPHA * (mean - memory[VALUE + arm])
    memory[COUNT] = memory[SUM] = 0.0
    if random01(request.seed, 99) < EXPLORE:
        arm = 1 - arm
    else:
        arm = 0 if memory[VALUE] <= memory[VALUE + 1] else 1
    memory[ARM] = arm
    return arm


def route(request, instances, memory):
    rows = [x for x in instances if x.role != DECODE and not x.starting and not x.draining]
    if not rows:
        return HOLD
    memory[SUM] += pressure(rows)
    arm = next_arm(request, memory)
    if arm == 0:
        def key(x):
            return (-x.cached_prefix_tokens, x.queued_requests + x.running_requests)
    else:
        def key(x):
            return (x.queued_requests + x.running_requests, -x.cached_prefix_tokens)
    return min(rows, key=key).id
