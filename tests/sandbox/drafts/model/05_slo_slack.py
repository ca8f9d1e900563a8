"""Order by slack to the tightest of the deadlines; offline requests wait behind all online ones."""

OFFLINE_PENALTY_S = 3600.0
LATE_KEEP_S = -5.0  # tune: -60.0 .. 0.0
NO_SLO_S = 120.0  # tune: 10 .. 600


def _ttft_slack(request: Request, instance: Instance) -> float:
    if request.done_tokens > 0 or is_missing(request.ttft_slo_s):
        return NO_SLO_S
    need = prefill_time_s(instance, request.prompt_tokens)
    return request.ttft_slo_s - request.age_s - need


def _e2e_slack(request: Request, instance: Instance) -> float:
    if is_missing(request.e2e_slo_s):
        return NO_SLO_S
    tokens = request.predicted_output_tokens
    if is_missing(tokens):
        tokens = 256.0
    left = max(tokens - request.done_tokens, 0.0)
    step = step_time_s(instance, max(1, instance.decoding_requests), instance.context_tokens)
    return request.e2e_slo_s - request.age_s - left * step


def _deadline_slack(request: Request) -> float:
    return NO_SLO_S if is_missing(request.deadline_s) else request.deadline_s


def priority(request: Request, instance: Instance, memory: Memory) -> float:
    slack = min(
        _ttft_slack(request, instance),
        _e2e_slack(request, instance),
        _deadline_slack(request),
    )
    if not request.online:
        return OFFLINE_PENALTY_S + slack
    if slack < LATE_KEEP_S:
        # hopeless already: let the ones that can still make it go first
        return NO_SLO_S + request.age_s
    return slack / max(request.weight, 0.1)


def admit(request: Request, instance: Instance, memory: Memory) -> bool:
    free = instance.kv_capacity_tokens - instance.kv_used_tokens
    if instance.running_requests >= instance.max_num_seqs:
        return False
    return request.prompt_tokens <= free
