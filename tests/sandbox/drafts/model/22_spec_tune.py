"""Speculation depth from the acceptance rate and the batch size, with hysteresis."""

ACC_GOOD = 0.7  # tune: 0.5 .. 0.95
ACC_BAD = 0.45  # tune: 0.1 .. 0.6
BIG_BATCH = 48  # tune: 8 .. 256
MAX_DEPTH = 6  # tune: 1 .. 16
EWMA = 0.3  # tune: 0.05 .. 1.0
ACC, SEEN, COOL = 0, 1, 2


def smoothed(instance, memory):
    a = instance.acceptance
    if is_missing(a):
        return memory[ACC] if memory[SEEN] else 0.6
    if memory[SEEN] == 0:
        memory[ACC], memory[SEEN] = a, 1
    else:
        memory[ACC] += EWMA * (a - memory[ACC])
    return memory[ACC]


def tune(instance, memory):
    acc = smoothed(instance, memory)
    depth = instance.speculation_depth
    if memory[COOL] > 0:
        memory[COOL] -= 1
        return
    if instance.decoding_requests >= BIG_BATCH:
        target = 0
    elif acc > ACC_GOOD:
        target = min(depth + 1, MAX_DEPTH)
    elif acc < ACC_BAD:
        target = max(depth - 1, 0)
    else:
        target = depth
    if target != depth:
        set_speculation(instance, target)
        memory[COOL] = 3
