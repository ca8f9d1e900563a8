"""Hold offline work while the cluster is hot and reject only what is hopelessly late."""

HOT = 0.7  # tune: 0.3 .. 0.95
COLD = 0.55  # tune: 0.2 .. 0.9
HOLD_LIMIT = 200
IS_HOT = 0


def seat_share(instances):
    seats = sum([x.max_num_seqs for x in instances if not x.draining])
    taken = sum([x.running_requests + x.queued_requests for x in instances if not x.draining])
    return taken / seats if seats > 0 else 1.0


def update_state(share, memory):
    if share > HOT:
        memory[IS_HOT] = 1.0
    elif share < COLD:
        memory[IS_HOT] = 0.0
    return memory[IS_HOT] > 0.5


def route(request, instances, memory):
    hot = update_state(seat_share(instances), memory)

    if request.online and not is_missing(request.deadline_s) and request.deadline_s < 0:
        return REJECT
    if not request.online and hot and request.held_count < HOLD_LIMIT:
        urgent = not is_missing(request.deadline_s) and request.deadline_s < 60
        if not urgent:
            return HOLD

    pick = None
    for x in instances:
        if x.draining or x.starting or x.role == DECODE:
            continue
        if pick is None:
            pick = x
            continue
        a = completion_s(request, x)
        b = completion_s(request, pick)
        if a < b or (a == b and x.id < pick.id):
            pick = x
    if pick is None:
        return HOLD
    return pick.id
