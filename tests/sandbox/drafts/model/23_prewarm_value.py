"""Bring in the prefixes with the most expected seconds saved per token, up to a budget."""

HORIZON_S = 30.0  # tune: 5 .. 300
BUDGET_SHARE = 0.1  # tune: 0.01 .. 0.5
MIN_P = 0.2  # tune: 0.0 .. 0.9


def saving_s(entry: Entry, instance: Instance) -> float:
    p = entry.probability
    if is_missing(p):
        p = min(1.0, 0.1 * entry.hits)
    if entry.users > 0:
        p = 1.0
    if p < MIN_P:
        return 0.0
    if not is_missing(entry.in_s) and entry.in_s > HORIZON_S:
        return 0.0
    return p * prefill_time_s(instance, entry.tokens) - entry.load_s


def prewarm(instance: Instance, entries: Rows[Entry], memory: Memory) -> None:
    budget = BUDGET_SHARE * instance.kv_capacity_tokens
    budget = min(budget, instance.kv_capacity_tokens - instance.kv_used_tokens)
    ranked = sorted(
        ((saving_s(e, instance) / max(e.tokens, 1), i) for i, e in enumerate(entries)),
        reverse=True,
    )
    for density, i in ranked:
        if density <= 0:
            break
        e = entries[i]
        if e.tokens <= budget:
            bring_in(e)
            budget -= e.tokens
