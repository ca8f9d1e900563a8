"""Llumnix: running requests move from instances that are short of KV to those that are free.

Paper: Llumnix (arXiv 2406.03243; its published code was read).
Taken: every instance has a freeness, the steps its batch can still make before KV runs out, less
what waits; requests go to the freest; at every tick instances under a threshold are paired, worst
with best, and the shortest running requests move as long as that brings the two nearer. The load
is virtual: what waits counts as if it ran, so that moving makes one piece of the free space; high
priority adds to it, so that others keep away; an instance that goes counts as full.
Inferred: the thresholds, high priority as class 1 beside others and as weight in queues, a waiting
prompt as the mean of those that wait, and online before offline in a queue.
Left out: more or fewer instances by mean freeness (plans are other policies'), and the hand-over
itself, which is the platform's.
"""

SHORT_STEPS = 60.0  # tune: 1 .. 1000
FREE_STEPS = 150.0  # tune: 2 .. 5000
HEADROOM = 0.1  # tune: 0 .. 0.5
MOVES_A_PAIR = 2  # tune: 1 .. 16
MOST_MOVES = 3  # tune: 1 .. 20
PAYBACK = 2.0  # tune: 0.5 .. 20


def head_tokens(inst):
    return ratio(max(inst.queued_prompt_tokens, 0), max(inst.queued_requests, 0), 0.0)


def freeness(inst, more_tokens, more_requests):
    # Steps left to the batch with the head of the queue counted in; negative when it cannot fit.
    if inst.draining or not is_missing(inst.grace_s):
        return -1e9
    free = inst.kv_capacity_tokens - inst.kv_used_tokens - head_tokens(inst) - more_tokens
    waiting = 0.0
    if inst.queued_requests > 0:
        waiting = 1.0
    return free / max(inst.running_requests + waiting + more_requests, 1.0)


def dispatch_freeness(inst):
    # For a new request everything that waits is ahead, not the head alone.
    if inst.draining or inst.starting or not is_missing(inst.grace_s):
        return -1e9
    free = inst.kv_capacity_tokens - inst.kv_used_tokens - max(inst.queued_prompt_tokens, 0)
    return 1.0 * free / max(inst.running_requests + inst.queued_requests, 1)


def route(request, instances, memory):
    best, most = instances[0].id, -INF
    for inst in instances:
        free = dispatch_freeness(inst)
        if free > most:
            best, most = inst.id, free
    return best


def priority(request, instance, memory):
    # Classes of more weight first, offline work last, and in order of arrival among equals.
    later = 0.0
    if not request.online:
        later = 1e9
    return later - 1e6 * request.weight - request.age_s


def position(instances, instance_id):
    for i in range(len(instances)):
        if instances[i].id == instance_id:
            return i
    return -1


def count_urgent(running, instances, urgent):
    # Whoever is of the first class has room kept beside it, if others are there to keep away.
    first, others = 0, 0
    for row in running:
        if row.class_id == 1:
            first += 1
        else:
            others += 1
    if first == 0 or others == 0:
        return
    for row in running:
        i = position(instances, row.instance)
        if i >= 0 and row.class_id == 1:
            urgent[i] = urgent[i] + 1.0


def reserve_tokens(inst, urgent):
    if urgent <= 0.0:
        return 0.0
    return HEADROOM * inst.kv_capacity_tokens


def shortest(running, instances, source, urgent, moved):
    # Position of the request to move: the shortest, urgent ones only from an instance that goes.
    leaves = freeness(instances[source], 0.0, 0.0) <= -1e9
    best, least = -1, INF
    for r in range(len(running)):
        row = running[r]
        here = row.instance == instances[source].id and row.decoding and moved[r] == 0.0
        stays = row.class_id == 1 and urgent[source] > 0.0 or row.moved_count >= MOST_MOVES
        left_s = row.predicted_remaining_tokens * instances[source].step_time_s
        pays = not left_s <= PAYBACK * row.transfer_s
        if here and pays and (leaves or not stays) and row.context_tokens < least:
            best, least = r, 1.0 * row.context_tokens
    return best


def migrate(running, instances, moves, memory):
    count = len(instances)
    free, urgent, moved = zeros(count + 1), zeros(count + 1), zeros(len(running) + 1)
    count_urgent(running, instances, urgent)
    for i in range(count):
        free[i] = INF
        if instances[i].role != PREFILL and not instances[i].starting:
            free[i] = freeness(instances[i], reserve_tokens(instances[i], urgent[i]), 0.0)
    places = order(free, count)
    usable = 0
    for i in range(count):
        if free[i] < INF:
            usable += 1
    for pair in range(usable // 2):
        source, target = int(places[pair]), int(places[usable - 1 - pair])
        if free[source] < SHORT_STEPS and free[target] > FREE_STEPS:
            tokens, requests = 0.0, 0.0
            for turn in range(16):
                if turn >= MOVES_A_PAIR:
                    break
                r = shortest(running, instances, source, urgent, moved)
                if r < 0:
                    break
                tokens += running[r].context_tokens
                requests += 1.0
                held = reserve_tokens(instances[target], urgent[target])
                after_there = freeness(instances[target], tokens + held, requests)
                after_here = freeness(instances[source], -tokens, -requests)
                if after_there < FREE_STEPS or after_there < after_here:
                    break
                if not add_move(moves, running[r], instances[target].id):
                    return
                moved[r] = 1.0
