"""Router learns an EWMA of each instance's step time and routes to the fastest effective one.

memory[s] for s = id % 48: EWMA of step time; memory[48..63]: unused.
"""

SLOTS = 48
ALPHA = 0.2  # tune: 0.02 .. 0.9
QUEUE_COST = 12.0  # tune: 1 .. 100


def observe(memory, inst):
    s = inst.id % SLOTS
    x = inst.step_time_s
    if is_missing(x) or x <= 0:
        x = inst.step_base_s
    old = memory[s]
    memory[s] = x if old == 0 else (1 - ALPHA) * old + ALPHA * x
    return memory[s]


def route(request, instances, memory):
    choice, lowest = HOLD, 1e18
    for inst in instances:
        speed = observe(memory, inst)
        if inst.role == DECODE or inst.draining or inst.starting:
            continue
        seats = max(1, inst.max_num_seqs - inst.running_requests)
        crowd = 1.0 + QUEUE_COST * inst.queued_requests / seats
        if inst.running_requests >= inst.max_num_seqs:
            crowd *= 2
        value = speed * crowd
        if value < lowest:
            choice, lowest = inst.id, value
    return choice
