"""Successive halving of parallel samples: keep the better half once scores have settled."""

FIRST_RUNG = 64  # tune: 16 .. 256
FLOOR_KEEP = 2  # tune: 1 .. 4


def branches(request, branches, memory):
    total = request.branch_count
    live = [b for b in branches if not b.finished and not b.pruned]
    done = [b for b in branches if b.finished]
    if len(live) <= FLOOR_KEEP:
        return max(total, 1)
    scored = [b for b in live if not is_missing(b.score)]
    if len(scored) < len(live):
        return total          # somebody has no score yet: wait

    progress = min(b.done_tokens for b in live)
    # how many halvings are due at this progress?
    rungs = 0
    mark = FIRST_RUNG
    for _ in range(6):
        if progress >= mark:
            rungs += 1
            mark *= 2
    keep = max(FLOOR_KEEP, ceil(total / 2.0 ** 1)) if rungs == 1 else max(FLOOR_KEEP, int(total // (1 << rungs)))
    if rungs == 0 or len(live) <= keep:
        return total

    best_done = max((b.score for b in done), default=-1e9)
    ranked = sorted(scored, key=lambda b: b.score, reverse=True)
    for rank, b in enumerate(ranked):
        if rank >= keep or b.score < best_done - 1.0:
            prune(b)
    return keep + len(done)
