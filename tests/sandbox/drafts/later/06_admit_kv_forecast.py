"""Admit only when the forecast KV peak leaves a margin; learn the margin from preemptions."""

MARGIN_LOW = 0.02  # tune: 0.0 .. 0.1
MARGIN_HIGH = 0.25  # tune: 0.1 .. 0.5
STEP_UP = 0.03  # tune: 0.005 .. 0.1
STEP_DOWN = 0.0005  # tune: 0.0001 .. 0.01


def admit(request, instance, memory):
    margin = memory[0]
    if memory[1] == 0.0:
        # first call on this engine
        margin = 0.05
        memory[1] = 1.0

    if instance.preemptions > memory[2]:
        margin += STEP_UP
    else:
        margin -= STEP_DOWN
    margin = clip(margin, MARGIN_LOW, MARGIN_HIGH)
    memory[0] = margin
    memory[2] = instance.preemptions

    if instance.running_requests == 0:
        return True
    if 0 < instance.max_num_seqs <= instance.running_requests:
        return False

    out = request.predicted_output_tokens
    if is_missing(out):
        out = 256.0
    need = request.prompt_tokens + max(out - request.done_tokens, 0.0)
    peak = instance.kv_predicted_tokens
    if is_missing(peak):
        peak = float(instance.kv_used_tokens) * 1.2
    room = instance.kv_capacity_tokens * (1.0 - margin) - peak
    return need <= room
