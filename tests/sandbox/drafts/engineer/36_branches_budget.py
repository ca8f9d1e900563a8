"""Parallel samples within a budget: start fewer when many were asked, drop clear losers by z-score."""

START = 4  # tune: 1 .. 16
Z_CUT = 1.0  # tune: 0.2 .. 3
ENOUGH_FINISHED = 3  # tune: 1 .. 8
WARMUP_TOKENS = 48  # tune: 8 .. 400


def mean_and_std(xs):
    n = len(xs)
    if n == 0:
        return 0.0, 0.0
    m = sum(xs) / n
    var = sum((x - m) ** 2 for x in xs) / n
    return m, sqrt(var)


def branches(request, branches, memory):
    total = len(branches)
    finished = sum(1 for b in branches if b.finished)
    if finished >= ENOUGH_FINISHED:
        for b in branches:
            if not b.finished and not b.pruned:
                prune(b)
        return finished
    scores = [b.score for b in branches if not is_missing(b.score) and not b.pruned]
    m, sd = mean_and_std(scores)
    alive = 0
    for b in branches:
        if b.finished or b.pruned:
            continue
        weak = not is_missing(b.score) and b.done_tokens >= WARMUP_TOKENS and b.score < m - Z_CUT * sd
        if weak and len(scores) >= 3:
            prune(b)
        else:
            alive += 1
    want = START if request.online else total
    # late requests get less parallelism
    if not is_missing(request.deadline_s) and request.deadline_s < 0:
        want = 1
    return max(1, min(total, alive + finished, want + finished))
