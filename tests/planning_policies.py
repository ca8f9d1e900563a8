"""Policies that plan, for the tests."""

BY_RATE = '''
"""One replica for each ten requests a second, in planner hooks; fewest running requests."""


def route(request, instances, memory):
    best, fewest = instances[0].id, INF
    for inst in instances:
        if inst.running_requests < fewest:
            best, fewest = inst.id, inst.running_requests
    return best


def wanted_count(window):
    if len(window.classes) == 0:
        return 1
    rate = window.classes[0].rate_rps
    if is_missing(rate):
        return 1
    return min(3, 1 + int(rate / 10.0))


def should_reschedule(window, cluster, plan, memory):
    memory[0] = memory[0] + 1.0
    return len(plan.replicas) != wanted_count(window)


def schedule(window, cluster, plan, new_plan, memory):
    for copy in range(wanted_count(window)):
        add_replica(new_plan, 0, 1, 1, MIXED)
'''

TWO = '''
"""Always two replicas."""


def should_reschedule(window, cluster, plan, memory):
    return len(plan.replicas) != 2


def schedule(window, cluster, plan, new_plan, memory):
    add_replica(new_plan, 0, 1, 1, MIXED)
    add_replica(new_plan, 0, 1, 1, MIXED)
'''

LATE_FAULT = '''
"""Divides by what is zero only once requests wait."""


def should_reschedule(window, cluster, plan, memory):
    return True


def schedule(window, cluster, plan, new_plan, memory):
    waiting = window.classes[0].queued_requests
    if waiting == 77:
        add_replica(new_plan, 0, 1 // (waiting - 77), 1, MIXED)
    add_replica(new_plan, 0, 1, 1, MIXED)
'''

LATE_GREED = LATE_FAULT.replace("1 // (waiting - 77)", "8")

PREFILL_ONLY = '''
"""Nobody decodes."""


def should_reschedule(window, cluster, plan, memory):
    return True


def schedule(window, cluster, plan, new_plan, memory):
    add_replica(new_plan, 0, 1, 1, PREFILL)
'''

ENDLESS = '''
"""Counts for as long as it may."""


def should_reschedule(window, cluster, plan, memory):
    total = 0.0
    for i in range(1000000):
        for k in range(1000000):
            total += 1.0
    return total > 0.0
'''
