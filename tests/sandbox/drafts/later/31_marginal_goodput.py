"""Marginal goodput: place the request where it breaks the fewest TPOT promises of others."""

VICTIM_COST = 1.0  # tune: 0.1 .. 10
SELF_COST = 2.0  # tune: 0.1 .. 10
SOFTNESS = 0.1  # tune: 0.01 .. 1.0


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + exp(-x))


def miss_probability(value: float, target: float) -> float:
    """Smooth 0 .. 1; half at the target."""
    if is_missing(target) or target <= 0:
        return 0.0
    return sigmoid((value / target - 1.0) / SOFTNESS)


def harm(request, inst) -> tuple[float, float]:
    before = step_time_s(inst, inst.decoding_requests, inst.context_tokens)
    after = step_time_s(inst, inst.decoding_requests + 1, inst.context_tokens + request.prompt_tokens)
    others = inst.decoding_requests * (
        miss_probability(after, inst.tpot_slo_s) - miss_probability(before, inst.tpot_slo_s)
    )
    wait = prefill_time_s(
        inst,
        inst.queued_prompt_tokens + inst.prefill_backlog_tokens
        + max(request.prompt_tokens - inst.cached_prefix_tokens, 0),
    )
    mine = miss_probability(request.age_s + wait, request.ttft_slo_s) + miss_probability(after, request.tpot_slo_s)
    return VICTIM_COST * others + SELF_COST * mine, wait


def route(request, instances, memory) -> int:
    best = (1e30, 1e30)
    choice = HOLD
    for inst in instances:
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        cand = harm(request, inst)
        if cand < best:
            best = cand
            choice = inst.id
    return choice
