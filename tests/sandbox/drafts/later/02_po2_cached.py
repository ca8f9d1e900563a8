"""Power of two choices on completion time, plus the cache-best instance as a third choice."""

DRAWS = 2  # tune: 1 .. 4


def usable(inst) -> bool:
    return not (inst.draining or inst.starting) and inst.role != DECODE


def route(request, instances, memory) -> int:
    pool = [inst for inst in instances if usable(inst)]
    n = len(pool)
    if n == 0:
        return HOLD
    if n == 1:
        return pool[0].id

    cand = [max(pool, key=lambda i: i.cached_prefix_tokens)]
    for k in range(DRAWS):
        u = random01(request.seed, k)
        cand.append(pool[min(int(u * n), n - 1)])

    winner = min(cand, key=lambda i: (completion_s(request, i), i.queued_requests, i.id))
    return winner.id
