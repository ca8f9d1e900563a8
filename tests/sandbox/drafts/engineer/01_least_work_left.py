"""Least work left: send each request to the instance predicted to finish it first.

completion_s already accounts for seat wait, prefill and decode; we add a small penalty for KV
pressure so that nearly full instances do not get chosen and then preempt.
"""

KV_KNEE = 0.85  # tune: 0.5 .. 0.99
KV_PENALTY_S = 20.0  # tune: 1 .. 100


def kv_pressure(inst):
    expected = inst.kv_predicted_tokens
    if is_missing(expected):
        expected = inst.kv_used_tokens
    return ratio(max(expected, inst.kv_used_tokens), inst.kv_capacity_tokens, 1.0)


def score(request, inst):
    over = max(0.0, kv_pressure(inst) - KV_KNEE)
    return completion_s(request, inst) + KV_PENALTY_S * over


def usable(inst):
    return inst.role != DECODE and not inst.draining and not inst.starting


def route(request, instances, memory):
    candidates = [i for i in instances if usable(i)]
    if not candidates:
        return HOLD
    best = min(candidates, key=lambda i: score(request, i))
    return best.id
