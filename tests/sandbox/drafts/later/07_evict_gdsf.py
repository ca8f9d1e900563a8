"""GDSF-like eviction: frequency times recompute cost per token, discounted by age."""

HALF_LIFE_S = 120.0  # tune: 10 .. 1200
USER_BONUS = 4.0  # tune: 0 .. 20
SESSION_BONUS = 1.5  # tune: 1 .. 5


def evict(entry, instance, memory):
    recency = exp(-0.693 * entry.age_s / HALF_LIFE_S)
    freq = 1.0 + log(1.0 + entry.hits)
    p = entry.probability if not is_missing(entry.probability) else recency
    # recomputing deep tokens costs attention over everything before
    recompute_s = prefill_time_s(instance, entry.tokens) * (1.0 + entry.depth_tokens / 100000.0)
    value = freq * p * recompute_s / max(entry.tokens, 1)
    if entry.session >= 0:
        value *= SESSION_BONUS
    if not entry.online:
        value *= 0.5
    return value * (1.0 + USER_BONUS * entry.users)
