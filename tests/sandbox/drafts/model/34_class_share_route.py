"""Follow the plan's shares by smooth weighted round robin, credits kept in router memory."""

SLOTS = 64
LOAD_PULL = 0.3  # tune: 0.0 .. 2.0


def route(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    eligible = [
        (x, max(x.share, 0.0))
        for x in instances
        if x.role != DECODE and not x.draining and not x.starting
    ]
    if not eligible:
        return HOLD

    total = sum(share for _, share in eligible)
    if total <= 0.0:
        eligible = [(x, 1.0) for x, _ in eligible]
        total = float(len(eligible))

    mean_load = sum(x.queued_requests for x, _ in eligible) / len(eligible)
    best = None
    best_credit = 0.0
    for x, share in eligible:
        k = x.id % SLOTS
        memory[k] += share / total
        credit = memory[k] - LOAD_PULL * (x.queued_requests - mean_load) / (1.0 + mean_load)
        if best is None or credit > best_credit:
            best = x
            best_credit = credit
    memory[best.id % SLOTS] -= 1.0
    return best.id
