"""Workflow-aware queue: stretch so far first, then short remaining workflows, then FCFS."""

STRETCH_W = 2.0  # tune: 0 .. 10
REMAIN_W = 0.05  # tune: 0 .. 1
AGE_W = 0.02  # tune: 0 .. 1
DONE_BONUS = 0.1  # tune: 0 .. 1


def stretch(request):
    horizon = request.workflow_horizon_s
    if is_missing(horizon) or horizon <= 0:
        horizon = max(1.0, request.workflow_served_s)
    remaining = request.workflow_remaining_s
    if is_missing(remaining):
        remaining = max(0.0, horizon - request.workflow_served_s)
    return (request.workflow_age_s + remaining) / horizon, remaining


def priority(request, instance, memory):
    if request.workflow < 0:
        return 1.0 - AGE_W * request.age_s
    slowdown, remaining = stretch(request)
    value = -STRETCH_W * min(slowdown, 10.0)
    value += REMAIN_W * remaining
    value -= DONE_BONUS * request.workflow_done_calls
    value -= AGE_W * request.age_s
    return value / max(request.weight, 0.1) if value > 0 else value * max(request.weight, 0.1)
