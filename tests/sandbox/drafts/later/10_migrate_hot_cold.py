"""Move decodes from the most KV-loaded instance to the coolest; empty the draining ones first."""

HIGH = 0.88  # tune: 0.6 .. 0.98
LOW = 0.6  # tune: 0.2 .. 0.8
MAX_MOVES = 8  # tune: 1 .. 32
MAX_TRANSFER_S = 1.0  # tune: 0.1 .. 5.0
MIN_LEFT = 64.0  # tune: 8 .. 512


def pressure(inst, extra):
    return (inst.kv_used_tokens + extra) / max(inst.kv_capacity_tokens, 1)


def migrate(running, instances, moves, memory):
    n = len(instances)
    if n < 2:
        return
    extra = [0.0] * n
    position_of = [inst.id for inst in instances]

    def coolest(need):
        best = -1
        best_p = LOW
        for j, inst in enumerate(instances):
            if inst.draining or inst.starting or inst.role == PREFILL:
                continue
            p = pressure(inst, extra[j] + need)
            if p < best_p:
                best, best_p = j, p
        return best

    ordered = sorted(running, key=lambda r: (r.moved_count, r.transfer_s))
    made = 0
    for r in ordered:
        if made >= MAX_MOVES:
            break
        if not r.decoding or r.transfer_s > MAX_TRANSFER_S:
            continue
        if r.instance not in position_of:
            continue
        src = position_of.index(r.instance)
        source = instances[src]
        forced = source.draining or not is_missing(source.grace_s)
        if not forced:
            if pressure(source, extra[src]) < HIGH or r.moved_count >= 2:
                continue
            if not is_missing(r.predicted_remaining_tokens) and r.predicted_remaining_tokens < MIN_LEFT:
                continue
        dst = coolest(r.context_tokens)
        if dst < 0 or dst == src:
            continue
        if not add_move(moves, r, instances[dst].id):
            return
        extra[dst] += r.context_tokens
        extra[src] -= r.context_tokens
        made += 1
