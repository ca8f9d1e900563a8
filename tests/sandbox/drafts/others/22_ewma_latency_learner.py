"""Learn a correction per instance slot: EWMA of observed step time over modelled step time."""

ALPHA = 0.1  # tune: 0.01 .. 0.5
SLOTS = 32
MAX_CORRECTION = 4.0  # tune: 1.5 .. 10


def slot_of(inst):
    return inst.id % SLOTS


def observe(inst, memory):
    if is_missing(inst.step_time_s) or inst.decoding_requests <= 0:
        return
    modelled = step_time_s(inst, inst.decoding_requests, inst.context_tokens)
    if modelled <= 0:
        return
    seen = clip(inst.step_time_s / modelled, 1 / MAX_CORRECTION, MAX_CORRECTION)
    k = slot_of(inst)
    old = memory[k]
    memory[k] = seen if old == 0 else old + ALPHA * (seen - old)


def correction(inst, memory):
    c = memory[slot_of(inst)]
    return c if c > 0 else 1.0


def route(request, instances, memory):
    best = None
    best_s = 0.0
    for inst in instances:
        observe(inst, memory)
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        s = completion_s(request, inst) * correction(inst, memory)
        if best is None or s < best_s:
            best, best_s = inst, s
    return HOLD if best is None else best.id
