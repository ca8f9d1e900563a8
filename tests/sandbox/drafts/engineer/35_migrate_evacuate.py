"""Evacuate draining or doomed instances: longest remaining first, to the instance with most room."""

MARGIN_S = 2.0  # tune: 0 .. 30
ROOM = 0.9  # tune: 0.5 .. 1.0
FINISH_FACTOR = 0.8  # tune: 0.2 .. 1.5


def doomed(inst):
    return inst.draining or not is_missing(inst.grace_s)


def finishes_in_time(r, inst):
    if is_missing(inst.grace_s):
        return False
    left = r.predicted_remaining_tokens
    if is_missing(left):
        left = 512.0
    return left * inst.step_time_s < FINISH_FACTOR * (inst.grace_s - MARGIN_S)


def migrate(running, instances, moves, memory):
    n = len(instances)
    room = zeros(n)
    seats = zeros(n)
    any_doomed = False
    for k, inst in enumerate(instances):
        if doomed(inst):
            any_doomed = True
        elif inst.role != PREFILL and not inst.starting:
            room[k] = ROOM * inst.kv_capacity_tokens - inst.kv_used_tokens
            seats[k] = inst.max_num_seqs - inst.running_requests
    if not any_doomed:
        return

    keys = zeros(len(running))
    for j, r in enumerate(running):
        keys[j] = -r.predicted_remaining_tokens
    for pos in order(keys, len(running)):
        r = running[int(pos)]
        home = None
        for inst in instances:
            if inst.id == r.instance:
                home = inst
        if home is None or not doomed(home) or finishes_in_time(r, home):
            continue
        if not is_missing(home.grace_s) and r.transfer_s > home.grace_s:
            continue  # it would not arrive
        best = -1
        for k in range(n):
            if room[k] >= r.context_tokens and seats[k] >= 1:
                if best < 0 or room[k] > room[best]:
                    best = k
        if best < 0:
            continue
        if not add_move(moves, r, instances[best].id):
            return
        room[best] -= r.context_tokens
        seats[best] -= 1
