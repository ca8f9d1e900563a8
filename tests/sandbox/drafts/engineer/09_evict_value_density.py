"""Keep the prefixes whose recomputation saved per token held is largest, decayed by idle time."""

HALF_LIFE_S = 120.0  # tune: 10 .. 2000
USER_BOOST = 4.0  # tune: 0 .. 20
SESSION_BOOST = 1.5  # tune: 1 .. 5


def evict(entry, instance, memory):
    recency = exp(-0.693 * entry.age_s / HALF_LIFE_S)
    popularity = log(2.0 + entry.hits)
    p = entry.probability
    if is_missing(p):
        p = recency * popularity
    if not is_missing(entry.in_s):
        p *= HALF_LIFE_S / (HALF_LIFE_S + entry.in_s)
    # deep tails are worthless without their parents, roots are used by everyone below
    depth_factor = entry.tokens / max(1.0, entry.tokens + 0.25 * entry.depth_tokens)
    value = p * (1.0 + USER_BOOST * entry.users) * depth_factor
    if entry.session >= 0:
        value *= SESSION_BOOST
    return value if entry.online else 0.5 * value
