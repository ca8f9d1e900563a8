"""Workflow-aware queueing: least slowdown so far goes last, nearly finished workflows first."""

STRETCH_W = 2.0  # tune: 0.1 .. 10
REMAIN_W = 1.0  # tune: 0.1 .. 10
PREEMPT_W = 0.5  # tune: 0 .. 5


def stretch(request):
    horizon = request.workflow_horizon_s
    if is_missing(horizon) or horizon <= 0:
        served = max(0.5, request.workflow_served_s)
        return request.workflow_age_s / served
    return request.workflow_age_s / horizon


def remaining(request):
    if not is_missing(request.workflow_remaining_s):
        return request.workflow_remaining_s
    guess = 1.0
    if request.workflow_done_calls > 0:
        guess = request.workflow_served_s / request.workflow_done_calls
    return guess


def priority(request: Request, instance: Instance, memory: Memory) -> float:
    if request.workflow < 0:
        out = request.predicted_output_tokens
        per_tok = instance.step_time_s if not is_missing(instance.step_time_s) else 0.03
        job_s = (256 if is_missing(out) else out) * per_tok
        key = REMAIN_W * job_s - STRETCH_W * request.age_s / max(0.1, job_s)
    else:
        key = REMAIN_W * remaining(request) - STRETCH_W * stretch(request)
    key -= PREEMPT_W * request.preempted_count
    return key if request.online else key + 1e6
