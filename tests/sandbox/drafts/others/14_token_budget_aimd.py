"""AIMD on the token budget: grow while steps meet the TPOT target, halve when they do not."""

GROW = 128  # tune: 16 .. 1024
SHRINK = 0.6  # tune: 0.3 .. 0.95
TARGET_SHARE = 0.85  # tune: 0.5 .. 1.0
LOW, HIGH = 256, 16384
EWMA = 0.3  # tune: 0.05 .. 0.9


def tune(instance, memory):
    if is_missing(instance.step_time_s):
        return
    if memory[1] == 0:
        memory[0] = instance.step_time_s
        memory[1] = 1
    memory[0] += EWMA * (instance.step_time_s - memory[0])
    smooth = memory[0]

    budget = instance.knob_token_budget if instance.knob_token_budget > 0 else instance.token_budget
    tpot = instance.tpot_slo_s
    if is_missing(tpot):
        budget = min(HIGH, budget * 2)
    elif smooth > TARGET_SHARE * tpot:
        budget = max(LOW, int(budget * SHRINK))
    elif instance.prefill_backlog_tokens + instance.queued_prompt_tokens > budget:
        budget = min(HIGH, budget + GROW)
    set_token_budget(instance, int(budget))

    # Speculate only in small batches where it has been paying off.
    depth = max(0, instance.speculation_depth)
    acc = instance.acceptance
    if instance.decoding_requests > 32:
        depth = 0
    elif is_missing(acc):
        depth = 2
    elif acc > 0.75:
        depth = min(8, depth + 1)
    elif acc < 0.45:
        depth = max(1, depth - 1)
    set_speculation(instance, depth)

    room = 1.0 - ratio(instance.kv_used_tokens, instance.kv_capacity_tokens, 0.0)
    set_offline_share(instance, clip(room - 0.2, 0.0, 0.6))
