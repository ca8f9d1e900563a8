"""Session affinity kept in a small hash table in router memory, broken under load.

Slots 0..59 hold (instance id + 1) for a hashed session; 60 is an EWMA of the queue depth.
"""

TABLE = 60
SLOT_LOAD = 60
ALPHA = 0.05  # tune: 0.01 .. 0.3
SPILL_FACTOR = 2.0  # tune: 1.1 .. 5.0
SPILL_FLOOR = 4  # tune: 1 .. 32


def load_of(inst):
    return inst.queued_requests + inst.running_requests


def find_instance(instances, wanted_id):
    for inst in instances:
        if inst.id == wanted_id:
            return inst
    return None


def route(request, instances, memory):
    live = [x for x in instances if not (x.draining or x.starting)]
    if not live:
        return HOLD

    mean_load = sum(load_of(x) for x in live) / len(live)
    memory[SLOT_LOAD] = (1 - ALPHA) * memory[SLOT_LOAD] + ALPHA * mean_load
    limit = max(SPILL_FLOOR, SPILL_FACTOR * memory[SLOT_LOAD])

    slot = -1
    if request.session >= 0:
        slot = request.session % TABLE
        remembered = int(memory[slot]) - 1
        # The contract tells us the last instance too; trust it first.
        home_id = request.last_instance if request.last_instance >= 0 else remembered
        home = find_instance(live, home_id)
        if home is not None and load_of(home) <= limit:
            memory[slot] = home.id + 1
            return home.id

    best = min(live, key=load_of)
    if slot >= 0:
        memory[slot] = best.id + 1
    return best.id
