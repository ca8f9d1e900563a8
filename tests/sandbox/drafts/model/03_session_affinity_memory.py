"""Session affinity through a small hash table in router memory, broken when the home is overloaded."""

SLOTS = 28
BASE_KEY = 0  # memory[0 .. 27]: session + 1
BASE_HOME = 28  # memory[28 .. 55]: instance id
OVERLOAD = 1.8  # tune: 1.1 .. 4.0
MIN_SLACK = 4.0  # tune: 1.0 .. 16.0


def usable(inst: Instance) -> bool:
    return not (inst.draining or inst.starting) and inst.role in (MIXED, PREFILL)


def depth(inst: Instance) -> int:
    return inst.queued_requests + inst.running_requests


def lookup(memory: Memory, session: int) -> int:
    slot = session % SLOTS
    if memory[BASE_KEY + slot] == session + 1:
        return int(memory[BASE_HOME + slot])
    return -1


def remember(memory: Memory, session: int, home: int) -> None:
    slot = session % SLOTS
    memory[BASE_KEY + slot] = session + 1
    memory[BASE_HOME + slot] = home


def route(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    candidates = [i for i in instances if usable(i)]
    if not candidates:
        return HOLD

    mean_depth = sum(depth(i) for i in candidates) / len(candidates)
    limit = max(OVERLOAD * mean_depth, mean_depth + MIN_SLACK)

    if request.session >= 0:
        home = lookup(memory, request.session)
        if home < 0:
            home = request.last_instance
        for inst in candidates:
            if inst.id == home and depth(inst) <= limit:
                remember(memory, request.session, inst.id)
                return inst.id

    chosen = min(candidates, key=lambda i: (depth(i), -i.cached_prefix_tokens))
    if request.session >= 0:
        remember(memory, request.session, chosen.id)
    return chosen.id
