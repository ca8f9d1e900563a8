"""Uniform choice among the k best by completion time, to avoid herding on stale signals.

Several routers see the same stale picture. Taking the argmin sends all of them to one engine, so
the pick is randomised among the instances within a tolerance of the best one.
"""

TOLERANCE = 0.15  # tune: 0.0 .. 1.0
K = 4  # tune: 1 .. 8
STALE_GAIN = 0.5  # tune: 0.0 .. 4.0


def insert(scores: list, ids: list, score: float, id_: int) -> None:
    # keeps the two lists sorted and at most K long
    for pos in range(K):
        if score < scores[pos]:
            for q in range(K - 1, pos, -1):
                scores[q] = scores[q - 1]
                ids[q] = ids[q - 1]
            scores[pos] = score
            ids[pos] = id_
            return


def route(request, instances, memory):
    scores = [1e30] * K
    ids = [-1] * K
    stalest = 0.0
    for inst in instances:
        if inst.draining or inst.starting:
            continue
        if inst.role not in (MIXED, PREFILL):
            continue
        stalest = max(stalest, inst.signal_age_s)
        insert(scores, ids, completion_s(request, inst), inst.id)

    if ids[0] < 0:
        return HOLD

    limit = scores[0] * (1 + TOLERANCE + STALE_GAIN * min(1.0, stalest))
    m = sum(1 for s, i in zip(scores, ids) if i >= 0 and s <= limit)
    pick = int(random01(request.seed, request.held_count) * m)
    return ids[min(pick, m - 1)]
