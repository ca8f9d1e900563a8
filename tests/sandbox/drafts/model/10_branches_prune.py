"""Prune parallel samples whose score trails the leader, after a minimum of tokens."""

WARMUP_TOKENS = 96  # tune: 16 .. 512
GAP = 0.25  # tune: 0.05 .. 1.0
KEEP_SHARE = 0.34  # tune: 0.1 .. 1.0
ENOUGH_FINISHED = 3  # tune: 1 .. 16


def branches(request: Request, branches: Rows[Branch], memory: Memory) -> int:
    total = len(branches)
    if total == 0:
        return max(1, request.branch_count)

    scored = [b for b in branches if not b.pruned and not is_missing(b.score)]
    finished = sum(1 for b in branches if b.finished)
    if not scored:
        return total

    top = max(b.score for b in scored)
    alive = sum(1 for b in branches if not b.pruned and not b.finished)
    floor_count = max(1, ceil(KEEP_SHARE * total))

    # worst first, so that the best survive the floor
    for b in sorted(scored, key=lambda b: b.score):
        if alive + finished <= floor_count:
            break
        if b.finished or b.done_tokens < WARMUP_TOKENS:
            continue
        if top - b.score > GAP:
            prune(b)
            alive -= 1

    if finished >= ENOUGH_FINISHED:
        for b in branches:
            if not b.finished and not b.pruned:
                prune(b)
        alive = 0
    return max(1, alive + finished)
