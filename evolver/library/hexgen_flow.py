"""Hexgen-Flow: calls of a workflow go where speed and load agree, and the most urgent run first.

Paper: HEXGEN-TEXT2SQL, its code called Hexgen-Flow (arXiv 2505.05286; the code was read).
Taken from the code: an engine's score is a mix of how fast it would run the call alone, against a
reference, and how much work waits there, against a reference, the highest score wins; the local
queue runs the call with the greatest urgency, time it will take less time left of its objective.
Inferred: the fastest engine and the mean load as references, the time alone from the modelled
steps, what is left to a workflow (a scaled horizon less its age, and less the calls after this
one) as the objective of a call in one.
Left out: the weight between speed and load is a constant here, for the paper's replay of the
recent trace that chooses it is the platform's tuner; KV room is the engine's to check.
"""

SPEED_WEIGHT = 0.2  # tune: 0 .. 0.9
SLO_SCALE = 1.5  # tune: 1 .. 10
UNKNOWN_TOKENS = 256.0  # tune: 16 .. 4096


def output_tokens(request):
    if is_missing(request.predicted_output_tokens):
        return max(UNKNOWN_TOKENS - request.done_tokens, 1.0)
    return max(request.predicted_output_tokens - request.done_tokens, 1.0)


def alone_s(request, inst):
    cached = max(inst.cached_prefix_tokens, 0)
    prompt_s = prefill_time_s(inst, max(request.prompt_tokens - cached, 1))
    return prompt_s + output_tokens(request) * step_time_s(inst, 1.0, request.prompt_tokens)


def load_s(inst):
    # Seconds of work that is there already: prompts not computed, tokens not generated.
    prompts = max(inst.queued_prompt_tokens, 0) + max(inst.prefill_backlog_tokens, 0)
    requests = max(inst.queued_requests, 0) + max(inst.running_requests, 0)
    rest = inst.predicted_remaining_tokens
    if is_missing(rest):
        rest = 0.5 * UNKNOWN_TOKENS * requests
    batch = clip(requests, 1, max(inst.max_num_seqs, 1))
    return prefill_time_s(inst, prompts) + rest / batch * step_time_s(
        inst, batch, inst.context_tokens
    )


def work_s(request, inst):
    # As seconds where they are known, else as requests, so that the order still means something.
    seconds = load_s(inst)
    if is_missing(seconds) or seconds == INF:
        return 1.0 * max(inst.queued_requests, 0) + max(inst.running_requests, 0)
    return seconds


def route(request, instances, memory):
    fastest, total = INF, 0.0
    for inst in instances:
        seconds = alone_s(request, inst)
        if seconds < fastest:
            fastest = seconds
        total += work_s(request, inst)
    mean = total / max(len(instances), 1)
    best, most = instances[0].id, -INF
    for inst in instances:
        score = SPEED_WEIGHT * ratio(fastest, alone_s(request, inst), 1.0)
        score -= (1.0 - SPEED_WEIGHT) * ratio(work_s(request, inst), mean, 0.0)
        if inst.draining or inst.starting:
            score -= 1000.0
        if score > most:
            best, most = inst.id, score
    return best


def left_s(request, takes_s):
    # Seconds until this call must have ended.
    if is_missing(request.workflow_horizon_s):
        if is_missing(request.deadline_s):
            return request.e2e_slo_s - request.age_s
        return request.deadline_s
    later_s = max(request.workflow_remaining_s - takes_s, 0.0)
    if is_missing(later_s):
        later_s = 0.0
    return SLO_SCALE * request.workflow_horizon_s - request.workflow_age_s - later_s


def priority(request, instance, memory):
    takes_s = alone_s(request, instance)
    key = left_s(request, takes_s) - takes_s
    if is_missing(key):
        return -request.age_s
    return key
