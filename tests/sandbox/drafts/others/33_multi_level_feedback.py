"""Multi-level feedback queue on tokens generated, with promotion by waiting time."""

BASE = 64  # tokens in the first level  # tune: 16 .. 512
LEVELS = 6
PROMOTE_S = 4.0  # seconds of waiting that lift a request one level  # tune: 0.5 .. 60
ONLINE_LIFT = 2


def level(tokens: int) -> int:
    limit = BASE
    for k in range(LEVELS):
        if tokens < limit:
            return k
        limit *= 2
    return LEVELS


def priority(request, instance, memory):
    # the prompt counts a tenth: prefill is cheap per token
    lvl = level(request.done_tokens + request.prompt_tokens // 10)
    lvl -= floor(request.age_s / PROMOTE_S)
    if request.online:
        lvl -= ONLINE_LIFT
    if request.preempted_count >= 2: lvl = min(lvl, -LEVELS)
    # FCFS within a level
    return lvl * 1000.0 - min(999.0, request.age_s)
