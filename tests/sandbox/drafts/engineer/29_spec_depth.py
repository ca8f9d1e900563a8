"""Speculation depth from acceptance: maximise expected tokens per modelled step cost, by search."""

DRAFT_COST = 0.06  # tune: 0.005 .. 0.5
BATCH_CUTOFF = 96  # tune: 8 .. 256
ALPHA = 0.15  # tune: 0.01 .. 1.0
MAX_DEPTH = 8
PROBE_EVERY = 40  # tune: 5 .. 500


def expected_tokens(a: float, depth: int) -> float:
    # 1 + a + a^2 + ... + a^depth
    total, term = 1.0, 1.0
    for _ in range(depth):
        term *= a
        total += term
    return total


def gain(instance, a, depth):
    b = max(1, instance.decoding_requests)
    verify = step_time_s(instance, b * (depth + 1), instance.context_tokens)
    cost = verify + DRAFT_COST * depth * instance.step_base_s
    return expected_tokens(a, depth) / max(cost, 1e-9)


def tune(instance, memory):
    memory[1] += 1
    a = instance.acceptance
    if not is_missing(a):
        memory[0] = a if memory[0] == 0 else memory[0] + ALPHA * (a - memory[0])
    if memory[0] == 0:
        set_speculation(instance, 2)
        return
    if instance.decoding_requests > BATCH_CUTOFF:
        set_speculation(instance, 0)
        return
    best = max(range(MAX_DEPTH + 1), key=lambda d: gain(instance, memory[0], d))
    if best == 0 and memory[1] % PROBE_EVERY == 0:
        best = 1  # look again whether drafts are accepted now
    if best != instance.speculation_depth:
        set_speculation(instance, best)
