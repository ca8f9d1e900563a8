"""AIMD on the step token budget: grow while the step meets TPOT, cut hard when it does not."""

LOW_BUDGET = 256  # tune: 64 .. 2048
HIGH_BUDGET = 8192  # tune: 1024 .. 32768
ADD = 128  # tune: 16 .. 1024
CUT = 0.7  # tune: 0.3 .. 0.95
TARGET = 0.9  # tune: 0.5 .. 1.0
SMOOTH = 0.3  # tune: 0.05 .. 1.0

# memory slots
STEP = 0
SEEN = 1
BUDGET = 2


def tune(instance, memory):
    step = instance.step_time_s
    if is_missing(step):
        return
    if memory[SEEN] == 0:
        memory[STEP] = step
        memory[SEEN] = 1
        memory[BUDGET] = instance.token_budget
    memory[STEP] += SMOOTH * (step - memory[STEP])
    slo = instance.tpot_slo_s
    if is_missing(slo):
        # nobody is waiting for tokens: go for throughput
        memory[BUDGET] = HIGH_BUDGET
    elif memory[STEP] > TARGET * slo:
        memory[BUDGET] *= CUT
    elif instance.prefill_backlog_tokens + instance.queued_prompt_tokens > 0:
        memory[BUDGET] += ADD
    memory[BUDGET] = clip(memory[BUDGET], LOW_BUDGET, HIGH_BUDGET)
    set_token_budget(instance, int(memory[BUDGET]))
