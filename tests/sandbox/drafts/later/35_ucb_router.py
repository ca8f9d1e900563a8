"""A bandit over three routing rules; the reward is the drop in the oldest wait between calls."""

RULES = 3
EXPLORE = 0.4  # tune: 0.05 .. 2.0
FORGET = 0.98  # tune: 0.8 .. 0.999

# memory layout: [0..2] pulls, [3..5] reward sums, [6] last rule + 1, [7] last metric
PULLS, SUMS, LAST, METRIC = 0, 3, 6, 7


def metric(rows):
    return sum(r.oldest_wait_s for r in rows if not is_missing(r.oldest_wait_s)) / len(rows)


def choose_rule(memory):
    total = sum(memory[PULLS + k] for k in range(RULES)) + 1.0
    best, best_u = 0, -1e9
    for k in range(RULES):
        n = memory[PULLS + k]
        if n < 1.0:
            return k
        u = memory[SUMS + k] / n + EXPLORE * sqrt(log(total) / n)
        if u > best_u:
            best, best_u = k, u
    return best


def route(request, instances, memory):
    rows = [i for i in instances if not i.draining and not i.starting and i.role != DECODE]
    if not rows:
        return HOLD
    now = metric(rows)
    last = int(memory[LAST]) - 1
    if last >= 0:
        reward = clip(memory[METRIC] - now, -1.0, 1.0)
        for k in range(RULES):
            memory[PULLS + k] *= FORGET
            memory[SUMS + k] *= FORGET
        memory[PULLS + last] += 1.0
        memory[SUMS + last] += reward
    rule = choose_rule(memory)
    memory[LAST] = rule + 1
    memory[METRIC] = now

    if rule == 0:
        pick = min(rows, key=lambda i: i.queued_requests + i.running_requests)
    elif rule == 1:
        pick = max(rows, key=lambda i: (i.cached_prefix_tokens, -i.queued_requests))
    else:
        pick = min(rows, key=lambda i: completion_s(request, i))
    return pick.id
