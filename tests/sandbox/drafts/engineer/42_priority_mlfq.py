"""Multi-level feedback without predictions: levels by tokens done, FCFS within, boost by waiting."""

LEVELS = (32, 128, 512, 2048)
LEVEL_GAP = 1000.0
BOOST_S = 20.0  # tune: 1 .. 300


def level_of(done_tokens):
    for i, limit in enumerate(LEVELS):
        if done_tokens < limit:
            return i
    return len(LEVELS)


def priority(request, instance, memory):
    lvl = level_of(request.done_tokens)
    lvl -= min(lvl, int(request.age_s / BOOST_S))
    arrival = request.now_s - request.age_s
    return lvl * LEVEL_GAP * 1000 + arrival + (LEVEL_GAP * 10000 if not request.online else 0)


def route(request, instances, memory):
    # memory: dispatch counts per instance slot, halved every 256 requests
    memory[63] += 1
    if memory[63] >= 256:
        memory[63] = 0
        for k in range(32):
            memory[k] = memory[k] / 2
    best, best_load = None, 0.0
    for inst in instances:
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        load = inst.queued_requests + inst.running_requests + 0.01 * memory[inst.id % 32]
        if best is None or load < best_load:
            best, best_load = inst, load
    if best is None:
        return HOLD
    memory[best.id % 32] += 1
    return best.id
