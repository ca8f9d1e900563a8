"""Even out KV: move young decoding requests from the fullest instance to the emptiest one."""

GAP = 0.25  # tune: 0.05 .. 0.8
MAX_MOVES = 4  # tune: 1 .. 32
MAX_MOVED = 2
MIN_REMAINING = 64  # tune: 0 .. 1000
COOLDOWN_TICKS = 3  # tune: 0 .. 50


def fill(inst):
    return ratio(inst.kv_used_tokens, inst.kv_capacity_tokens, 1.0)


def migrate(running, instances, moves, memory):
    if memory[0] > 0:
        memory[0] -= 1
        return
    pool = [i for i in instances if i.role != PREFILL and not i.starting]
    if len(pool) < 2:
        return
    src = max(pool, key=fill)
    targets = [i for i in pool if not i.draining and i.id != src.id]
    if not targets:
        return
    dst = min(targets, key=fill)
    if fill(src) - fill(dst) < GAP:
        return
    excess = (fill(src) - fill(dst)) / 2 * src.kv_capacity_tokens
    candidates = [
        r for r in running
        if r.instance == src.id and r.decoding and r.moved_count < MAX_MOVED
        and r.predicted_remaining_tokens > MIN_REMAINING
    ]
    candidates = sorted(candidates, key=lambda r: r.transfer_s / max(1.0, r.predicted_remaining_tokens))
    moved = 0
    for r in candidates:
        if moved >= MAX_MOVES or excess <= 0:
            break
        if r.context_tokens > excess:
            continue
        if not add_move(moves, r, dst.id):
            break
        excess -= r.context_tokens
        moved += 1
    if moved > 0:
        memory[0] = COOLDOWN_TICKS


def route(request, instances, memory):
    rows = [i for i in instances if i.role != DECODE and not i.draining and not i.starting]
    # lowest KV share first, queue length breaks ties between nearly equal ones
    rows = sorted(rows, key=lambda i: (round(fill(i), 1), i.queued_requests))
    return rows[0].id if rows else HOLD
