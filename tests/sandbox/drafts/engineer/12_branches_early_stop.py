"""Run all samples a little, then keep the top half by score at each halving point."""

FIRST_CHECK = 64  # tune: 16 .. 512
KEEP = 0.5  # tune: 0.2 .. 0.9
MIN_ALIVE = 2  # tune: 1 .. 8


def branches(request, branches, memory):
    alive = [b for b in branches if not b.finished and not b.pruned]
    n = len(alive)
    if n <= MIN_ALIVE:
        return max(1, n)
    if min(b.done_tokens for b in alive) < FIRST_CHECK:
        return n
    scored = [b for b in alive if not is_missing(b.score)]
    if len(scored) < n:
        return n
    keep = max(MIN_ALIVE, ceil(KEEP * n))
    ranked = sorted(scored, key=lambda b: -b.score)
    for b in ranked[keep:]:
        prune(b)
    return keep
