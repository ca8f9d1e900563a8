"""Migration as defragmentation: empty one lightly loaded engine for long prompts, by first fit.

Also evacuates draining engines while the grace period lasts, cheapest transfers first.
"""

PERIOD = 8  # ticks between two defragmentation attempts  # tune: 1 .. 64
LIGHT = 0.35  # tune: 0.1 .. 0.6
TARGET = 0.85  # tune: 0.5 .. 0.95
TICK = 0


def headroom(inst):
    return TARGET * inst.kv_capacity_tokens - inst.kv_used_tokens


def evacuate(running, instances, moves, room):
    for src in instances:
        if not src.draining:
            continue
        mine = sorted((r for r in running if r.instance == src.id), key=lambda r: r.transfer_s)
        clock = 0.0
        for r in mine:
            clock += r.transfer_s
            if not is_missing(src.grace_s) and clock > src.grace_s:
                break
            best = -1
            for k, dst in enumerate(instances):
                if dst.draining or dst.starting or dst.role == PREFILL:
                    continue
                if room[k] >= r.context_tokens and (best < 0 or room[k] > room[best]):
                    best = k
            if best >= 0 and add_move(moves, r, instances[best].id):
                room[best] -= r.context_tokens


def defragment(running, instances, moves, room):
    victim = -1
    victim_fill = LIGHT
    for k, inst in enumerate(instances):
        if inst.draining or inst.starting:
            continue
        fill = ratio(inst.kv_used_tokens, inst.kv_capacity_tokens, 1.0)
        if 0 < fill < victim_fill and inst.queued_requests == 0:
            victim, victim_fill = k, fill
    if victim < 0:
        return
    mine = [r for r in running if r.instance == instances[victim].id and r.moved_count == 0]
    if len(mine) == 0 or len(mine) > 8:
        return

    mine = sorted(mine, key=lambda r: r.context_tokens, reverse=True)
    plan = []
    for r in mine:
        placed = False
        for k, dst in enumerate(instances):
            if k == victim or dst.draining or dst.starting or dst.role == PREFILL:
                continue
            if room[k] >= r.context_tokens:
                room[k] -= r.context_tokens
                plan.append((r, dst.id))
                placed = True
                break
        if not placed:
            return  # all or nothing
    for r, where in plan:
        add_move(moves, r, where)


def migrate(running, instances, moves, memory):
    room = [headroom(i) for i in instances]
    evacuate(running, instances, moves, room)
    memory[TICK] += 1
    if memory[TICK] >= PERIOD:
        memory[TICK] = 0
        defragment(running, instances, moves, room)
