"""Defragment for long requests: free one instance's KV by packing its short decodes elsewhere."""

QUEUE_TRIGGER_S = 2.0  # tune: 0.2 .. 20
FILL = 0.85  # tune: 0.5 .. 0.95
MOVES_PER_TICK = 6  # tune: 1 .. 16
BANDWIDTH_GUARD_S = 0.8  # tune: 0.1 .. 4


def migrate(running, instances, moves, memory):
    # who suffers: an instance whose queue waits although it is nearly full of KV
    stuck = [
        i for i in instances
        if i.queued_requests > 0 and i.oldest_wait_s > QUEUE_TRIGGER_S and i.kv_used_tokens > FILL * i.kv_capacity_tokens
    ]
    if not stuck:
        return
    target = max(stuck, key=lambda i: i.oldest_wait_s)

    bins = [(FILL * i.kv_capacity_tokens - i.kv_used_tokens, i.id)
            for i in instances
            if i.id != target.id and not i.draining and not i.starting and i.role != PREFILL]
    if not bins:
        return
    free = [b for b, _ in bins]
    ids = [k for _, k in bins]

    mine = [r for r in running if r.instance == target.id and r.decoding and r.moved_count < 2]
    mine.sort(key=lambda r: r.context_tokens, reverse=True)   # best fit decreasing
    need = 0.15 * target.kv_capacity_tokens
    freed = 0
    spent_s = 0.0
    count = 0
    for r in mine:
        if freed >= need or count == MOVES_PER_TICK:
            break
        left = r.predicted_remaining_tokens
        if not is_missing(left) and left * target.step_time_s < 2.0 * r.transfer_s:
            continue
        if spent_s + r.transfer_s > BANDWIDTH_GUARD_S:
            continue
        best = -1
        for k in range(len(free)):
            if free[k] >= r.context_tokens and (best == -1 or free[k] < free[best]):
                best = k
        if best == -1:
            continue
        if add_move(moves, r, ids[best]):
            free[best] -= r.context_tokens
            freed += r.context_tokens
            spent_s += r.transfer_s
            count += 1
