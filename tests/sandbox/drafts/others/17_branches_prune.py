"""Parallel samples: start wide, prune the ones that trail the leader, stop when one is good."""

MARGIN = 0.25  # tune: 0.05 .. 1.0
GOOD = 0.9  # tune: 0.5 .. 1.0
WARMUP_TOKENS = 48  # tune: 8 .. 512
KEEP = 2


def alive(b) -> bool:
    return not b.finished and not b.pruned


def branches(request, branches, memory):
    scored = [b for b in branches if not is_missing(b.score)]
    if len(scored) == 0:
        return request.branch_count

    leader = max(b.score for b in scored)
    finished_good = any(b.finished and b.score >= GOOD for b in scored)

    n_alive = sum(1 for b in branches if alive(b))
    for b in sorted(scored, key=lambda b: b.score):
        if n_alive <= KEEP and not finished_good:
            break
        if not alive(b) or b.done_tokens < WARMUP_TOKENS:
            continue
        if finished_good or leader - b.score > MARGIN:
            prune(b)
            n_alive -= 1
    return max(1, n_alive)
