"""Session affinity kept in router memory: a hashed table of sessions to instances, with escape.

memory[2*h] holds session + 1, memory[2*h + 1] the instance id, for h in 0..31.
"""

TABLE = 32
ESCAPE_QUEUE = 6  # tune: 1 .. 40
ESCAPE_KV = 0.93  # tune: 0.6 .. 1.0


def slot(session):
    return (session * 2654435761) % 4294967291 % TABLE


def find_row(instances, instance_id):
    for inst in instances:
        if inst.id == instance_id:
            return inst
    return None


def healthy(inst):
    if inst.draining or inst.starting or inst.role == DECODE:
        return False
    if inst.queued_requests > ESCAPE_QUEUE:
        return False
    return ratio(inst.kv_used_tokens, inst.kv_capacity_tokens, 1.0) < ESCAPE_KV


def least_loaded(instances):
    best = None
    best_key = None
    for inst in instances:
        if inst.draining or inst.role == DECODE:
            continue
        key = (inst.starting, inst.queued_requests, inst.kv_used_tokens)
        if best_key is None or key < best_key:
            best, best_key = inst, key
    return best


def remember(memory, session, instance_id):
    h = slot(session)
    memory[2 * h] = session + 1
    memory[2 * h + 1] = instance_id


def recall(memory, session):
    h = slot(session)
    if memory[2 * h] == session + 1:
        return int(memory[2 * h + 1])
    return -1


def route(request, instances, memory):
    if request.session >= 0:
        home = request.last_instance
        if home < 0:
            home = recall(memory, request.session)
        row = find_row(instances, home) if home >= 0 else None
        if row is not None and healthy(row):
            remember(memory, request.session, row.id)
            return row.id
    target = least_loaded(instances)
    if target is None:
        return HOLD
    if request.session >= 0:
        remember(memory, request.session, target.id)
    return target.id
