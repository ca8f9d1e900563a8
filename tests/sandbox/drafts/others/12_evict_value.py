"""Keep-value of a prefix: expected saved prefill seconds per token, with online and depth terms."""

HALF_LIFE_S = 90.0  # tune: 10 .. 900
HIT_GAIN = 1.0  # tune: 0.1 .. 4.0
USER_GAIN = 3.0  # tune: 0.5 .. 10.0
OFFLINE_DISCOUNT = 0.4  # tune: 0.05 .. 1.0
DEPTH_SCALE = 4096.0  # tune: 512 .. 32768


def reuse_chance(entry):
    if not is_missing(entry.probability):
        return entry.probability
    recency = exp(-0.693 * entry.age_s / HALF_LIFE_S)
    popularity = 1.0 - exp(-HIT_GAIN * entry.hits)
    return recency * (0.2 + 0.8 * popularity)


def evict(entry, instance, memory):
    p = reuse_chance(entry) + USER_GAIN * entry.users
    saved = prefill_time_s(instance, entry.tokens)
    # recomputing a deep block also needs attention over all before it; shallow blocks have more heirs
    shallow = 1.0 / (1.0 + entry.depth_tokens / DEPTH_SCALE)
    value = p * saved * (0.5 + shallow) / max(1, entry.tokens)
    return value if entry.online else OFFLINE_DISCOUNT * value
