"""AIMD on the token budget against the tightest TPOT target; speculation follows acceptance."""

INCREASE = 64  # tune: 16 .. 512
BACKOFF = 0.75  # tune: 0.4 .. 0.95
TARGET = 0.9  # tune: 0.6 .. 1.0
MIN_BUDGET = 256  # tune: 64 .. 1024
MAX_BUDGET = 8192  # tune: 2048 .. 16384
DEEP = 5  # tune: 2 .. 8


def next_budget(current, step, slo):
    if is_missing(slo):
        return MAX_BUDGET
    if is_missing(step):
        return current
    if step > TARGET * slo:
        return int(current * BACKOFF)
    return current + INCREASE


def spec_depth(inst):
    if is_missing(inst.acceptance):
        return 2 if inst.decoding_requests < 8 else 0
    if inst.decoding_requests > 48:
        return 0
    a = clip(inst.acceptance, 0.0, 0.99)
    best, best_gain = 0, 1.0
    expected = 1.0
    power = 1.0
    for d in range(1, DEEP + 1):
        power *= a
        expected += power
        gain = expected / (1.0 + 0.08 * d * (1 + inst.decoding_requests / 16))
        if gain > best_gain:
            best, best_gain = d, gain
    return best


def tune(instance, memory):
    current = instance.knob_token_budget if instance.knob_token_budget > 0 else instance.token_budget
    budget = next_budget(current, instance.step_time_s, instance.tpot_slo_s)
    set_token_budget(instance, min(max(budget, MIN_BUDGET), MAX_BUDGET))
    set_speculation(instance, spec_depth(instance))
    if is_missing(instance.tpot_slo_s) or instance.step_time_s < 0.5 * instance.tpot_slo_s:
        set_offline_share(instance, 0.5)
    else:
        set_offline_share(instance, 0.1)
