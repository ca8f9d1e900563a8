"""EDF on first-token deadlines plus TPOT-guarded admission that protects running decodes."""

TPOT_GUARD = 0.95  # tune: 0.6 .. 1.2
LATE_SINK_S = 30.0  # tune: 0 .. 300
CHUNK = 2048  # tune: 256 .. 8192


def deadline_in(request):
    if not is_missing(request.deadline_s):
        return request.deadline_s
    if request.done_tokens == 0 and not is_missing(request.ttft_slo_s):
        return request.ttft_slo_s - request.age_s
    if not is_missing(request.e2e_slo_s):
        return request.e2e_slo_s - request.age_s
    return 3600.0 if request.online else 86400.0


def priority(request, instance, memory):
    d = deadline_in(request)
    work = prefill_time_s(instance, request.prompt_tokens - instance.cached_prefix_tokens)
    if d < work:
        # already lost: let the ones that can still make it pass
        return request.now_s + LATE_SINK_S + work
    return request.now_s + d - work


def admit(request, instance, memory):
    if instance.decoding_requests == 0:
        return True
    if instance.kv_used_tokens + request.prompt_tokens > instance.kv_capacity_tokens:
        return False
    tight = instance.tpot_slo_s
    if is_missing(tight):
        return True
    step = step_time_s(instance, instance.decoding_requests + 1, instance.context_tokens + request.prompt_tokens)
    step += prefill_time_s(instance, min(CHUNK, request.prompt_tokens))
    if step <= TPOT_GUARD * tight:
        return True
    # do not let the guard kill the first-token target
    return request.online and deadline_in(request) < 2.0 * step
