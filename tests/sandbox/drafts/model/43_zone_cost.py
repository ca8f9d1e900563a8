"""Zone-aware routing: prefer the zone that holds the session, price crossing it, keep zones balanced."""

CROSS_S = 0.3  # tune: 0.0 .. 3.0
ZONES = 8
SKEW_S = 1.0  # tune: 0.0 .. 10.0


def zone_of(instances: Rows[Instance], wanted: int) -> int:
    for inst in instances:
        if inst.id == wanted:
            return inst.zone
    return -1


def zone_loads(instances: Rows[Instance]) -> Floats:
    work = zeros(ZONES, 2)
    for inst in instances:
        if inst.draining or inst.starting:
            continue
        z = inst.zone % ZONES
        work[z, 0] += inst.running_requests + inst.queued_requests
        work[z, 1] += max(inst.max_num_seqs, 1)
    out = zeros(ZONES)
    for z in range(ZONES):
        out[z] = ratio(work[z, 0], work[z, 1], 0.0)
    return out


def route(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    home = zone_of(instances, request.last_instance) if request.last_instance >= 0 else -1
    loads = zone_loads(instances)
    top: list[tuple[float, int]] = []
    for inst in instances:
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        t = completion_s(request, inst)
        if home >= 0 and inst.zone != home:
            t += CROSS_S
        t += SKEW_S * loads[inst.zone % ZONES]
        if not is_missing(inst.grace_s) and inst.grace_s < 2 * t:
            t += 60.0
        top.append((t, inst.id))
    if not top:
        return HOLD
    top = sorted(top)
    if len(top) >= 2 and top[1][0] < 1.02 * top[0][0] and random01(request.seed, 5) < 0.5:
        return top[1][1]
    return top[0][1]
