"""Least slack first: order the queue by the time left before each request's own target is missed.

Requests that can no longer make it are sent behind those that can; offline work goes last.
"""

LATE_PENALTY_S = 1000.0  # tune: 10 .. 10000
OFFLINE_PENALTY_S = 5000.0  # tune: 100 .. 50000
PREEMPT_BONUS_S = 2.0  # tune: 0 .. 30
LATE_GRACE_S = 0.5  # tune: 0 .. 5


def budget_s(request: Request) -> float:
    """The smallest of the slacks that apply now."""
    options = []
    if request.done_tokens == 0 and not is_missing(request.ttft_slo_s):
        options.append(request.ttft_slo_s - request.age_s)
    if not is_missing(request.e2e_slo_s):
        options.append(request.e2e_slo_s - request.age_s)
    if not is_missing(request.deadline_s):
        options.append(request.deadline_s)
    if not options:
        return 1e6
    return min(options)


def need_s(request: Request, instance: Instance) -> float:
    tokens = max(0, request.prompt_tokens - max(0, instance.cached_prefix_tokens))
    return prefill_time_s(instance, tokens)


def priority(request: Request, instance: Instance, memory: Memory) -> float:
    if not request.online:
        return OFFLINE_PENALTY_S - request.age_s * 0.1
    slack = budget_s(request) - need_s(request, instance)
    slack -= PREEMPT_BONUS_S * request.preempted_count
    if slack < -LATE_GRACE_S:
        return LATE_PENALTY_S - request.age_s
    return slack / max(0.1, request.weight)
