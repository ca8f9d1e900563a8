"""Keep what is expected back soon: sessions by think time, shared roots by hits, tails go first."""

THINK_S = 45.0  # tune: 5 .. 600
ROOT_BONUS = 3.0  # tune: 1 .. 20
OFFLINE = 0.4  # tune: 0.05 .. 1


def chance(e):
    if e.users > 0:
        return 1.0
    if not is_missing(e.probability):
        return e.probability
    if e.session >= 0:
        # a session is silent: the longer, the less likely it returns
        return 1.0 / (1.0 + (e.age_s / THINK_S) ** 2)
    return 1 - exp(-e.hits / (1 + e.age_s / THINK_S))


def evict(entry, instance, memory):
    p = chance(entry)
    gain = prefill_time_s(instance, entry.depth_tokens + entry.tokens) - prefill_time_s(instance, entry.depth_tokens)
    if 0 < entry.load_s < gain:
        gain = entry.load_s
    v = p * gain / max(1, entry.tokens) * 1e6
    if entry.depth_tokens == 0:
        v *= ROOT_BONUS
    return v if entry.online else v * OFFLINE


def prewarm(instance, entries, memory):
    free = instance.kv_capacity_tokens - instance.kv_used_tokens
    taken = 0
    for e in sorted(entries, key=lambda e: evict(e, instance, memory), reverse=True):
        if e.wanted or chance(e) < 0.5:
            continue
        if taken + e.tokens > 0.2 * free:
            break
        bring_in(e)
        taken += e.tokens
