"""GreedyDual-Size-Frequency: value is clock plus hits times cost over size, clock is in memory."""

AGING = 0.02  # tune: 0.001 .. 0.5
USER_VALUE = 50.0  # tune: 1 .. 1000


def evict(entry, instance, memory):
    rebuild = prefill_time_s(instance, entry.tokens + 0.1 * entry.depth_tokens)
    cheaper = min(rebuild, entry.load_s) if not is_missing(entry.load_s) and entry.load_s > 0 else rebuild
    density = 1000.0 * cheaper / max(entry.tokens, 16)
    h = (1 + entry.hits) * density
    value = h - AGING * entry.age_s + USER_VALUE * entry.users
    # slow clock: average value asked about
    memory[0] = 0.99 * memory[0] + 0.01 * value
    memory[1] += 1
    if entry.session >= 0 and 0 <= entry.age_s < 30:
        return max(value, memory[0])
    return value


def prewarm(instance, entries, memory):
    if instance.queued_requests > 8:
        return
    ranked = sorted(enumerate(entries), key=lambda pair: pair[1].users, reverse=True)
    for i, e in ranked[:4]:
        if e.users >= 2 and not e.wanted:
            bring_in(e)
