"""PID control of step time: error against the TPOT target moves the token budget in log space."""

KP = 0.3  # tune: 0.05 .. 1.5
KI = 0.05  # tune: 0 .. 0.5
KD = 0.05  # tune: 0 .. 0.5
SET_POINT = 0.85  # tune: 0.5 .. 1.0
B_MIN = 128
B_MAX = 16_384
IDLE_FINETUNE = 0.4  # tune: 0 .. 0.9

I_TERM, PREV_ERR, SEEN, LOG_B = range(4)


def tune(instance, memory):
    slo = instance.tpot_slo_s
    if is_missing(slo) or is_missing(instance.step_time_s):
        # nobody online here
        set_token_budget(instance, B_MAX)
        set_offline_share(instance, 0.9)
        set_finetune_share(instance, IDLE_FINETUNE if instance.running_requests == 0 else 0.1)
        return

    if memory[SEEN] == 0.0:
        memory[SEEN] = 1.0
        memory[LOG_B] = log(max(instance.token_budget, B_MIN))

    err = clip(SET_POINT - instance.step_time_s / slo, -1.0, 1.0)
    memory[I_TERM] = clip(memory[I_TERM] + err, -4.0, 4.0)
    d = err - memory[PREV_ERR]
    memory[PREV_ERR] = err

    u = KP * err + KI * memory[I_TERM] + KD * d
    memory[LOG_B] = clip(memory[LOG_B] + u, log(B_MIN), log(B_MAX))
    set_token_budget(instance, round(exp(memory[LOG_B])))

    spare = clip(err * 2, 0, 1)
    set_offline_share(instance, spare * 0.6)
    set_finetune_share(instance, spare * 0.3 if instance.queued_requests == 0 else 0.0)
