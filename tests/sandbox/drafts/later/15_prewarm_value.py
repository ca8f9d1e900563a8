"""Prewarm the entries with most expected saving per second of loading, within a time budget."""

BUDGET_S = 0.5  # tune: 0.05 .. 5.0
HORIZON_S = 20.0  # tune: 2 .. 120
MIN_P = 0.2  # tune: 0.01 .. 0.9


def prewarm(instance, entries, memory):
    if instance.draining:
        return
    room = instance.kv_capacity_tokens - instance.kv_used_tokens
    if room <= 0.1 * instance.kv_capacity_tokens:
        return

    ranked = []
    for i, e in enumerate(entries):
        if e.wanted:
            continue
        p = e.probability
        if is_missing(p):
            p = 1.0 if e.users > 0 else 0.0
        if p < MIN_P:
            continue
        if not is_missing(e.in_s) and e.in_s > HORIZON_S:
            continue
        saving = p * (prefill_time_s(instance, e.tokens) - e.load_s)
        if saving <= 0:
            continue
        ranked.append((saving / max(e.load_s, 1e-4), i))
    ranked.sort(reverse=True)

    spent = 0.0
    for _, i in ranked:
        e = entries[i]
        if spent + e.load_s > BUDGET_S or e.tokens > room:
            continue
        bring_in(e)
        spent += e.load_s
        room -= e.tokens
