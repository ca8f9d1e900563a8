"""Session affinity: sticky while the home is healthy, a memory table of recent prefix homes."""

SLOTS = 30  # tune: 16 .. 31
OVERLOAD = 1.6  # tune: 1.1 .. 4.0
SLACK_REQUESTS = 4  # tune: 1 .. 16


def load_of(inst):
    return inst.queued_requests + inst.running_requests


def find(instances, wanted_id):
    for inst in instances:
        if inst.id == wanted_id:
            return inst
    return None


def route(request, instances, memory):
    # memory[2*s] = key + 1 (0 is empty), memory[2*s + 1] = instance id
    alive = [i for i in instances if not i.draining and not i.starting and i.role != DECODE]
    if not alive:
        return HOLD
    mean_load = sum(load_of(i) for i in alive) / len(alive)
    limit = OVERLOAD * mean_load + SLACK_REQUESTS

    home = None
    if request.session >= 0 and request.last_instance >= 0:
        home = find(alive, request.last_instance)

    slot = -1
    if request.prefix_key >= 0:
        slot = request.prefix_key % SLOTS
        if home is None and memory[2 * slot] == request.prefix_key + 1:
            home = find(alive, int(memory[2 * slot + 1]))

    if home is not None and load_of(home) <= limit:
        chosen = home
    else:
        chosen = min(alive, key=load_of)

    if slot >= 0:
        memory[2 * slot] = request.prefix_key + 1
        memory[2 * slot + 1] = chosen.id
    return chosen.id
