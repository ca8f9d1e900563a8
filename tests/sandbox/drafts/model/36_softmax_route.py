"""Softmax over predicted completion times, so that many routers do not herd on one replica."""

TEMP_S = 0.5  # tune: 0.05 .. 5
TOP = 4
STALE_BOOST = 0.5  # tune: 0.0 .. 2.0


def route(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    costs = []
    ids = []
    ages = []
    for inst in instances:
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        costs.append(completion_s(request, inst))
        ids.append(inst.id)
        ages.append(inst.signal_age_s)
    n = len(ids)
    if n == 0:
        return HOLD

    temp = TEMP_S * (1.0 + STALE_BOOST * sum(ages) / n)
    perm = order(costs, n)
    k = min(n, TOP)
    base = costs[int(perm[0])]
    weights = [exp((base - costs[int(perm[j])]) / temp) for j in range(k)]
    draw = random01(request.seed, 17 + request.held_count) * sum(weights)
    for j in range(k):
        draw -= weights[j]
        if draw < 0.0:
            return ids[int(perm[j])]
    return ids[int(perm[0])]
