"""Greedy knapsack prewarm: bring in entries with the best expected saving per second of loading."""

TIME_BUDGET_S = 1.5  # tune: 0.1 .. 10
KV_SHARE = 0.1  # tune: 0.01 .. 0.5
HORIZON_S = 30.0  # tune: 2 .. 300
MIN_P = 0.05  # tune: 0.0 .. 0.9


def saving_s(instance: Instance, entry: Entry) -> float:
    p = entry.probability
    if is_missing(p):
        p = 1.0 if entry.users > 0 else 0.0
    if p < MIN_P and entry.users == 0:
        return 0.0
    soon = 1.0
    if not is_missing(entry.in_s):
        soon = clip(1.0 - entry.in_s / HORIZON_S, 0.0, 1.0)
    gain = prefill_time_s(instance, entry.tokens) - entry.load_s
    return max(0.0, gain) * (p * soon + entry.users)


def prewarm(instance: Instance, entries: Sequence, memory: Memory) -> None:
    n = len(entries)
    if n == 0 or instance.draining:
        return
    keys = zeros(n)
    for i, e in enumerate(entries):
        s = saving_s(instance, e)
        keys[i] = -s / max(e.load_s, 1e-4)
    free = instance.kv_capacity_tokens - instance.kv_used_tokens
    tokens_left = min(KV_SHARE * instance.kv_capacity_tokens, free)
    time_left = TIME_BUDGET_S
    for pos in order(keys, n):
        k = int(pos)
        if keys[k] >= 0:
            break
        e = entries[k]
        if e.tokens > tokens_left or e.load_s > time_left:
            continue
        bring_in(e)
        tokens_left -= e.tokens
        time_left -= e.load_s
