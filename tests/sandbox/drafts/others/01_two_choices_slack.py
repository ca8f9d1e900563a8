"""Power of two choices on completion time, falling back to a full scan when slack is tight.

Two candidates are drawn with the request's own seed; if neither meets the TTFT target we pay for
a full scan.
"""

SLACK_SHARE = 0.6  # tune: 0.2 .. 1.0
KV_CEILING = 0.92  # tune: 0.7 .. 0.99


def usable(inst) -> bool:
    return not inst.draining and not inst.starting and inst.role != DECODE


def kv_fill(inst) -> float:
    return ratio(inst.kv_used_tokens, inst.kv_capacity_tokens, 1.0)


def first_token_s(request, inst) -> float:
    fresh = max(0, request.prompt_tokens - max(0, inst.cached_prefix_tokens))
    backlog = max(0, inst.queued_prompt_tokens) + max(0, inst.prefill_backlog_tokens)
    return prefill_time_s(inst, backlog + fresh)


def pick(seed: int, k: int, n: int) -> int:
    return min(n - 1, floor(random01(seed, k) * n))


def route(request, instances, memory) -> int:
    candidates = [inst for inst in instances if usable(inst)]
    n = len(candidates)
    if n == 0:
        return HOLD
    if n == 1:
        return candidates[0].id

    i = pick(request.seed, 0, n)
    j = pick(request.seed, 1, n - 1)
    if j >= i:
        j += 1
    a, b = candidates[i], candidates[j]
    ta, tb = first_token_s(request, a), first_token_s(request, b)
    best, best_t = (a, ta) if ta <= tb else (b, tb)

    target = request.ttft_slo_s
    if is_missing(target) or best_t <= SLACK_SHARE * target:
        if kv_fill(best) < KV_CEILING:
            return best.id

    # The sample was unlucky: look at everyone.
    return min(candidates, key=lambda c: (kv_fill(c) > KV_CEILING, first_token_s(request, c))).id
