"""Hermes with deadlines: least slack to the worst case first, Gittins order for the rest.

Paper: Hermes (arXiv 2506.14851; its published code was read): the variant for deadlines.
Taken from the code: slack is the time to the application's deadline less the worst case of what
is left of it, the smallest slack runs first; applications without a deadline follow all others,
by their rank.
Inferred: an application's deadline is a factor times its horizon alone, as its evaluation sets
them; the worst case is the service that the longest few of its class had received, counted here
as in the policy for the mean, and until that is known the predicted remainder times a factor;
the rank of the rest is the predicted remainder, for the survival curve is the other policy's.
Left out: dispatch and prewarming, and that calls of one application wait in order of arrival.
"""

SLO_FACTOR = 1.5  # tune: 1 .. 10
WORST_FACTOR = 1.5  # tune: 1 .. 5
LONGEST_SHARE = 0.1  # tune: 0.01 .. 0.9
FEWEST_SAMPLES = 30  # tune: 5 .. 500
HALVE_AT = 1000.0  # tune: 100 .. 100000
AFTER_ALL_S = 65536.0  # tune: 1000 .. 1000000

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


def longest_s(memory, curve):
    # Service at the highest level that more than a few reach: there the long ones end.
    for down in range(10):
        level = 9 - down
        reached = memory[curve + level]
        if level > 0 and reached > 0.0 and reached >= LONGEST_SHARE * memory[curve]:
            return memory[curve + 10 + level] / reached
    return 0.0


def worst_left_s(request, memory, curve):
    left_s = WORST_FACTOR * request.workflow_remaining_s
    if memory[curve] < FEWEST_SAMPLES:
        return left_s
    served = request.workflow_served_s
    if is_missing(served):
        served = 0.0
    seen_s = longest_s(memory, curve) - served
    if is_missing(left_s):
        return max(seen_s, 0.0)
    return max(seen_s, request.workflow_remaining_s)


def priority(request, instance, memory):
    curve = curve_of(request)
    remember(request, memory, curve)
    due_s = SLO_FACTOR * request.workflow_horizon_s - request.workflow_age_s
    if is_missing(due_s):
        due_s = request.deadline_s
    slack = due_s - worst_left_s(request, memory, curve)
    if not is_missing(slack):
        return min(slack, AFTER_ALL_S)
    if is_missing(request.workflow_remaining_s):
        return 2.0 * AFTER_ALL_S - request.age_s
    return AFTER_ALL_S + min(request.workflow_remaining_s, AFTER_ALL_S)
