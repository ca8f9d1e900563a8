"""Load-adaptive sampling width, adapter prewarming and speculation, driven by one load estimate."""

LOAD_ALPHA = 0.2  # tune: 0.02 .. 0.8
WIDE_BELOW = 0.5  # tune: 0.1 .. 0.9
NARROW_ABOVE = 0.85  # tune: 0.5 .. 0.99
Z = 1.0  # tune: 0.2 .. 3.0
TOP_N = 3  # tune: 1 .. 16

LOAD = 0
INIT = 1


def load_now(instance):
    kv = ratio(instance.kv_used_tokens, instance.kv_capacity_tokens, 0.0)
    seats = ratio(instance.running_requests, instance.max_num_seqs, 0.0)
    return max(kv, seats)


def tune(instance, memory):
    x = load_now(instance)
    if memory[INIT] == 0:
        memory[LOAD], memory[INIT] = x, 1
    else:
        memory[LOAD] = LOAD_ALPHA * x + (1 - LOAD_ALPHA) * memory[LOAD]
    depth = round(6 * (1 - clip(memory[LOAD], 0, 1)))
    if not is_missing(instance.acceptance) and instance.acceptance < 0.4:
        depth //= 2
    if depth != instance.knob_speculation:
        set_speculation(instance, depth)


def mean_and_spread(values):
    n = len(values)
    m = sum(values) / n
    var = sum((v - m) ** 2 for v in values) / n
    return m, sqrt(var)


def branches(request, branches, memory):
    load = memory[LOAD]
    if load <= WIDE_BELOW:
        width = request.branch_count
    elif load >= NARROW_ABOVE:
        width = 1
    else:
        share = (NARROW_ABOVE - load) / (NARROW_ABOVE - WIDE_BELOW)
        width = max(1, round(share * request.branch_count))

    scores = [b.score for b in branches if not is_missing(b.score)]
    if len(scores) >= 3:
        m, sd = mean_and_spread(scores)
        for b in branches:
            if not b.finished and not b.pruned and b.score < m - Z * sd:
                prune(b)
    return width


def prewarm(instance, entries, memory):
    if memory[LOAD] > NARROW_ABOVE:
        return
    wanted = [
        (e.probability * e.load_s, k)
        for k, e in enumerate(entries)
        if not is_missing(e.probability) and e.probability > 0.1 and not e.wanted
    ]
    for _, k in sorted(wanted, reverse=True)[:TOP_N]:
        bring_in(entries[k])


def evict(entry, instance, memory):
    age = entry.age_s + 1.0
    return (1 + entry.hits + 4 * entry.users) * entry.load_s / age
