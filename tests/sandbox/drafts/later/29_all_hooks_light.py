"""A light policy with most hooks: simple robust rules everywhere, nothing clever anywhere."""

KV_STOP = 0.96  # tune: 0.8 .. 1.0
HOT = 0.9  # tune: 0.7 .. 0.99
COOL = 0.7  # tune: 0.3 .. 0.85


def kv(inst):
    return ratio(inst.kv_used_tokens, inst.kv_capacity_tokens, 1.0)


def ok(inst):
    return not inst.draining and not inst.starting


def route(request, instances, memory):
    rows = [i for i in instances if ok(i) and i.role != DECODE]
    if len(rows) == 0: return HOLD
    return min(rows, key=lambda i: (i.queued_requests, kv(i))).id


def route_decode(request, instances, memory):
    rows = [i for i in instances if ok(i) and i.role != PREFILL and kv(i) < KV_STOP]
    if len(rows) == 0: return HOLD
    return min(rows, key=lambda i: (kv(i), i.transfer_s)).id


def priority(request, instance, memory):
    return request.now_s - request.age_s + (0 if request.online else 1e6)


def admit(request, instance, memory):
    return instance.running_requests == 0 or kv(instance) < KV_STOP


def evict(entry, instance, memory):
    return entry.users * 1e6 - entry.age_s


def migrate(running, instances, moves, memory):
    hot = max(instances, key=kv, default=None)
    cold = min((i for i in instances if ok(i)), key=kv, default=None)
    if hot is None or cold is None or hot.id == cold.id:
        return
    if kv(hot) < HOT or kv(cold) > COOL:
        return
    for r in running:
        if r.instance == hot.id and r.decoding and r.moved_count == 0:
            add_move(moves, r, cold.id)
            return


def tune(instance, memory):
    set_token_budget(instance, 1024 if instance.decoding_requests > 16 else 4096)


def prewarm(instance, entries, memory):
    for e in entries:
        if e.users > 0 and kv(instance) < COOL:
            bring_in(e)
