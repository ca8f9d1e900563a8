"""Bring in the prefixes with the best expected saving per second of load, within free KV."""

RESERVE = 0.15  # tune: 0.0 .. 0.5
MIN_PROBABILITY = 0.2  # tune: 0.02 .. 0.9
HORIZON_S = 30.0  # tune: 2 .. 300
MAX_LOAD_S = 2.0  # tune: 0.1 .. 10


def gain(instance, e) -> float:
    p = e.probability
    if is_missing(p):
        p = clip(e.hits / (e.hits + 5.0), 0.0, 1.0) * exp(-e.age_s / HORIZON_S)
    if e.users > 0:
        p = 1.0
    if p < MIN_PROBABILITY:
        return 0.0
    if not is_missing(e.in_s) and e.in_s > HORIZON_S:
        return 0.0
    saved = prefill_time_s(instance, e.tokens)
    return p * saved - 0.5 * e.load_s


def prewarm(instance, entries, memory):
    space = (1.0 - RESERVE) * instance.kv_capacity_tokens - instance.kv_used_tokens
    n = len(entries)
    if space <= 0 or n == 0:
        return
    keys = zeros(n)
    for i in range(n):
        e = entries[i]
        keys[i] = -gain(instance, e) / max(1, e.tokens)
    ranking = order(keys, n)
    spent = 0.0
    for k in range(n):
        i = int(ranking[k])
        if keys[i] >= 0:
            break
        e = entries[i]
        if e.tokens > space or spent + e.load_s > MAX_LOAD_S:
            continue
        bring_in(e)
        space -= e.tokens
        spent += e.load_s
