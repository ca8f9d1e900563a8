"""Hermes: run the application with the lowest Gittins rank, and bring in what it will need.

Paper: Hermes (arXiv 2506.14851; its published code was read).
Taken from the code: the rank over samples of an application's total service, the mean of what
remains for those that end within a horizon over their share, at its best horizon, lower first;
prefetch of a prefix whose chance to be needed soon is high enough.
Inferred, because records hold no history: samples come from the calls seen here. A workflow comes
by once with 0, once with 1, 2, 4, 8, ... calls done, so counting those arrivals and the service
received by then gives a survival curve. One curve for each of the classes 1 and 2 and one for the
rest stands for the per-application graph and its Monte-Carlo walks. Requests outside a workflow are
workflows of one call. Until a curve is known the predicted remainder orders the queue.
"""

FEWEST_SAMPLES = 30  # tune: 5 .. 500
HALVE_AT = 1000.0  # tune: 100 .. 100000
ASKED_FOR = 0.1  # tune: 0.01 .. 0.9
FREE_SHARE = 0.1  # tune: 0 .. 0.5
UNKNOWN_S = 5.0  # tune: 0.1 .. 60

# Engine memory: curve c is at 20 c; 0..9 workflows that reached each level (none, 1, 2, 4, ... 256
# calls done), 10..19 the service they had received by then, summed.


def level_of(calls):
    level, reach = 0, 1
    for step in range(9):
        if calls >= reach:
            level += 1
        reach = reach * 2
    return level


def curve_of(request):
    if request.class_id == 1:
        return 0
    if request.class_id == 2:
        return 20
    return 40


def remember(request, memory, curve):
    calls, level = max(request.workflow_done_calls, 0), level_of(request.workflow_done_calls)
    crossed = calls == 0 or level_of(calls - 1) < level
    if request.keyed_count > 0 or not crossed:
        return
    served = request.workflow_served_s
    if is_missing(served):
        served = 0.0
    memory[curve + level] = memory[curve + level] + 1.0
    memory[curve + 10 + level] = memory[curve + 10 + level] + served
    if memory[curve] > HALVE_AT:
        for slot in range(20):
            memory[curve + slot] = 0.5 * memory[curve + slot]


def gittins_rank_s(memory, curve, level):
    reached = memory[curve + level]
    now_s = memory[curve + 10 + level] / reached
    alive, ended, ended_work, at_s = 1.0, 0.0, 0.0, 0.0
    best = INF
    for up in range(level + 1, 10):
        # A curve is a sample: it may rise by chance, and nobody may have got this far.
        after = min(memory[curve + up] / reached, alive)
        before_s = at_s
        guess_s = now_s + 2.0 * at_s + UNKNOWN_S
        served_s = ratio(memory[curve + 10 + up], memory[curve + up], guess_s)
        at_s = max(served_s - now_s, at_s)
        ended += alive - after
        ended_work += (alive - after) * 0.5 * (before_s + at_s)
        alive = after
        if ended > 0.0:
            best = min(best, ended_work / ended / ended)
    return best


def priority(request, instance, memory):
    curve = curve_of(request)
    remember(request, memory, curve)
    level = level_of(request.workflow_done_calls)
    if memory[curve + level] >= FEWEST_SAMPLES:
        rank = gittins_rank_s(memory, curve, level)
        if rank < INF:
            return rank
    if is_missing(request.workflow_remaining_s):
        return UNKNOWN_S
    return request.workflow_remaining_s


def prewarm(instance, entries, memory):
    free = instance.kv_capacity_tokens * (1.0 - FREE_SHARE) - instance.kv_used_tokens
    for entry in entries:
        if entry.probability >= ASKED_FOR and entry.tokens <= free:
            bring_in(entry)
            free -= entry.tokens
