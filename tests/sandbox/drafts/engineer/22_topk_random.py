"""Keep the three best instances by predicted completion and spread requests over them at random.

Stale signals make every router pick the same winner; choosing among the best few with a
probability that falls with the score avoids the herd.
"""

K = 3
TEMPERATURE = 0.25  # tune: 0.02 .. 2.0


def insert(top_score, top_id, score, inst_id):
    """Insertion into a short ascending list, the last one falls off."""
    for k in range(K):
        if top_id[k] < 0 or score < top_score[k]:
            for j in range(K - 1, k, -1):
                top_score[j] = top_score[j - 1]
                top_id[j] = top_id[j - 1]
            top_score[k] = score
            top_id[k] = inst_id
            return


def route(request, instances, memory):
    top_score = [0.0] * K
    top_id = [-1] * K
    for inst in instances:
        if inst.role == DECODE or inst.draining or inst.starting:
            continue
        insert(top_score, top_id, completion_s(request, inst), inst.id)
    if top_id[0] == -1:
        return HOLD

    best = max(top_score[0], 1e-3)
    weights = [0.0, 0.0, 0.0]
    for k in range(K):
        if top_id[k] >= 0:
            weights[k] = exp(-(top_score[k] - top_score[0]) / (TEMPERATURE * best))
    draw = random01(request.seed, request.held_count) * sum(weights)
    for k in range(K):
        draw -= weights[k]
        if draw <= 0 and top_id[k] >= 0:
            return top_id[k]
    return top_id[0]
