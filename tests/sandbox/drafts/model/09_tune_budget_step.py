"""Additive increase, multiplicative decrease of the token budget against the tightest TPOT target."""

UP_TOKENS = 128  # tune: 16 .. 512
DOWN = 0.75  # tune: 0.5 .. 0.95
LOW, HIGH = 256, 8192
SAFE = 0.9  # tune: 0.6 .. 1.0


def tune(instance, memory):
    budget = instance.knob_token_budget if instance.knob_token_budget > 0 else instance.token_budget
    slo = instance.tpot_slo_s
    if is_missing(slo):
        set_token_budget(instance, HIGH)
        return
    if is_missing(instance.step_time_s):
        return
    if instance.step_time_s > SAFE * slo:
        budget = int(budget * DOWN)
    elif instance.queued_requests > 0 or instance.prefill_backlog_tokens > 0:
        budget += UP_TOKENS
    set_token_budget(instance, int(clip(budget, LOW, HIGH)))
