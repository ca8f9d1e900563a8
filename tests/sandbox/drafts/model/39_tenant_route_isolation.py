"""Noisy neighbour isolation: each tenant has a small shuffle shard, spill only when all are full."""

SHARD = 3
FULL = 0.85  # tune: 0.4 .. 1.0
TENANT_COST = 0.05  # tune: 0.0 .. 0.5


def occupancy(x):
    seats = ratio(x.running_requests + x.queued_requests, x.max_num_seqs, 1.0)
    kv = ratio(x.kv_used_tokens, x.kv_capacity_tokens, 1.0)
    return max(seats, kv)


def shard_of(tenant, rows):
    ranked = sorted(rows, key=lambda x: random01(tenant, x.id))
    return ranked[:SHARD], ranked[SHARD:]


def cheapest(rows):
    best, cost = None, None
    for x in rows:
        c = occupancy(x) + TENANT_COST * x.tenant_requests
        if cost is None or c < cost:
            best, cost = x, c
    return best, cost


def route(request, instances, memory):
    rows = [x for x in instances if not (x.draining or x.starting or x.role == DECODE)]
    if not rows:
        return HOLD
    mine, others = shard_of(request.tenant, rows)
    x, c = cheapest(mine)
    if c < FULL or len(others) == 0:
        return x.id
    y, d = cheapest(others)
    if d + 0.2 < c:
        return y.id
    return HOLD if request.held_count < 5 and not request.online else x.id
