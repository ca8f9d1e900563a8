"""Slack-ordered queues, with early rejection of hopeless online requests at the router."""

HOPELESS = 2.5  # tune: 1.2 .. 6.0
LATE_PENALTY = 1000.0
OFFLINE_BASE = 10_000.0


def target_s(request) -> float:
    if not is_missing(request.deadline_s):
        return request.deadline_s
    if not is_missing(request.ttft_slo_s):
        return request.ttft_slo_s - request.age_s
    return 60.0


def own_prefill_s(request, inst) -> float:
    tokens = max(1, request.prompt_tokens - max(0, inst.cached_prefix_tokens))
    return prefill_time_s(inst, tokens)


def slack(request, inst) -> float:
    return target_s(request) - own_prefill_s(request, inst)


def wait_s(inst) -> float:
    return prefill_time_s(inst, inst.queued_prompt_tokens + inst.prefill_backlog_tokens)


def route(request, instances, memory):
    best, best_slack = None, -1e18
    for inst in instances:
        if inst.starting or inst.draining or inst.role == DECODE:
            continue
        s = slack(request, inst) - wait_s(inst)
        if s > best_slack:
            best, best_slack = inst, s
    if best is None:
        return HOLD
    if request.online and not is_missing(request.ttft_slo_s):
        if best_slack < -HOPELESS * request.ttft_slo_s and request.turn == 0:
            return REJECT
    return best.id


def priority(request, instance, memory):
    if not request.online:
        return OFFLINE_BASE - request.age_s
    s = slack(request, instance)
    if s < 0:
        # Already late: behind those that can still make it, shortest first.
        return LATE_PENALTY + own_prefill_s(request, instance)
    return s / max(0.1, request.weight)
