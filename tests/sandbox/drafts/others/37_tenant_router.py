"""Tenant token buckets at the router: over-quota tenants are held, then sent to the least loaded.

Slots 2t and 2t+1 hold the level and the last refill time of tenant bucket t (31 buckets).
"""

N = 31
FILL_TPS = 4000.0  # tune: 100 .. 50000
DEPTH = 60_000.0  # tune: 1000 .. 1e6
MAX_HOLD_S = 2.0  # tune: 0 .. 30


def refill(request: Request, memory: Memory) -> int:
    slot = 2 * (request.tenant % N)
    last = memory[slot + 1]
    if last == 0.0:
        memory[slot] = DEPTH
    else:
        memory[slot] = min(DEPTH, memory[slot] + FILL_TPS * request.weight * (request.now_s - last))
    memory[slot + 1] = max(request.now_s, 1e-9)
    return slot


def tokens_of(request: Request) -> float:
    out = request.predicted_output_tokens
    return request.prompt_tokens + 3.0 * (out if not is_missing(out) else 200.0)


def idle_cluster(instances: Rows[Instance]) -> bool:
    for inst in instances:
        if inst.queued_requests == 0 and 2 * inst.running_requests < inst.max_num_seqs:
            return True
    return False


def route(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    slot = refill(request, memory)
    need = tokens_of(request)
    over = memory[slot] < need
    if over and request.age_s < MAX_HOLD_S and not idle_cluster(instances):
        return HOLD

    target, lowest = None, None
    for inst in instances:
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        mine = inst.tenant_requests if inst.tenant_requests > 0 else 0
        est = completion_s(request, inst) + 0.05 * mine
        if lowest is None or est < lowest:
            target, lowest = inst, est
    if target is None:
        return HOLD
    memory[slot] = max(-DEPTH, memory[slot] - need)
    return target.id
