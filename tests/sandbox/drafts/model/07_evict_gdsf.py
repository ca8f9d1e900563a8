"""Greedy dual style eviction: hits times recompute cost per token, with a clock kept in memory."""

CLOCK = 0
AGE_HALF_S = 120.0  # tune: 10 .. 2000
USER_BONUS = 10.0  # tune: 1 .. 100


def recompute_s(entry, instance):
    t = prefill_time_s(instance, entry.tokens)
    # deep entries need their chain as well
    return t * (1 + entry.depth_tokens / (entry.tokens + entry.depth_tokens + 1))


def evict(entry, instance, memory):
    freq = 1 + entry.hits
    decay = exp(-entry.age_s / AGE_HALF_S)
    value = freq * decay * recompute_s(entry, instance) / max(entry.tokens, 1)
    value += USER_BONUS * entry.users
    if entry.session >= 0 and entry.online:
        value *= 1.5
    memory[CLOCK] = max(memory[CLOCK], value * 0.0)
    return memory[CLOCK] + value
