"""Default: first come first served, soonest predicted completion, one plan kept until it breaks.

The idea is to be safe on any input rather than clever: missing signals fall back to counting
requests, draining instances are used only when there are no others, and a plan is made when there
is none, when it cannot stand, or when GPUs have come or gone.
"""

KV_FULL = 0.95  # tune: 0.5 .. 1.0
KV_PENALTY = 4.0  # tune: 1 .. 20
OFFLINE_ROOM = 0.9  # tune: 0.3 .. 1.0
OFFLINE_LATER = 1e6  # tune: 0 .. 1e9
BUSY_PENALTY = 1e6  # tune: 1e3 .. 1e9


def outstanding(inst):
    return max(inst.queued_requests, 0) + max(inst.running_requests, 0)


def kv_share(inst, more_tokens):
    used = float(max(inst.kv_used_tokens, 0)) + max(more_tokens, 0)
    return ratio(used, float(max(inst.kv_capacity_tokens, 0)), 0.0)


def load_of(request, inst):
    load = completion_s(request, inst)
    if is_missing(load) or load >= BUSY_PENALTY:
        load = float(outstanding(inst))
    if kv_share(inst, request.prompt_tokens) > KV_FULL:
        load = KV_PENALTY * (load + 1.0)
    if inst.draining or inst.starting:
        load += BUSY_PENALTY
    return load


def route(request, instances, memory):
    best, least = HOLD, INF
    for inst in instances:
        load = load_of(request, inst)
        if inst.role == DECODE:
            load += 2.0 * BUSY_PENALTY
        if load < least or best == HOLD:
            best, least = inst.id, load
    return best


def route_decode(request, instances, memory):
    best, least = HOLD, INF
    for inst in instances:
        load = kv_share(inst, request.prompt_tokens) + 0.001 * outstanding(inst)
        if not is_missing(inst.transfer_s):
            load += max(inst.transfer_s, 0.0)
        if inst.role != PREFILL and not inst.draining and (load < least or best == HOLD):
            best, least = inst.id, load
    return best


def priority(request, instance, memory):
    later = 0.0 if request.online else OFFLINE_LATER
    return later - request.age_s if request.age_s > 0.0 else later


def admit(request, instance, memory):
    return request.online or kv_share(instance, request.prompt_tokens) <= OFFLINE_ROOM


def evict(entry, instance, memory):
    wanted = 1000.0 * max(entry.users, 0)
    return wanted - entry.age_s if entry.age_s > 0.0 else wanted


def prewarm(instance, entries, memory):
    return


def branches(request, branches, memory):
    return max(1, min(request.branch_count, MAX_BRANCHES))


def tune(instance, memory):
    return


def migrate(running, instances, moves, memory):
    return


def should_reschedule(window, cluster, plan, memory):
    return len(plan.replicas) == 0 or not window.plan_feasible or window.capacity_changed


def copies_of(cluster, index, used):
    shape = cluster.shapes[index]
    if min(shape.gpus, shape.tp, shape.pp) < 1 or max(shape.tp, shape.pp) > 64:
        return 0
    if shape.pool < 0 or shape.pool >= len(cluster.pools):
        return 0
    pool = cluster.pools[shape.pool]
    left = max(pool.present, 0) - max(pool.leaving, 0) - used
    return max(0, min(left // shape.gpus, shape.fits_now, MAX_REPLICAS))


def best_shape(cluster, pool, used):
    best, most = -1, 0.0
    for index, shape in enumerate(cluster.shapes):
        if shape.pool == pool:
            rate = copies_of(cluster, index, used) * shape.rate_rps
            if rate > most:
                best, most = index, rate
    return best


def roles_serve(plan):
    prompts, decodes = 0, 0
    for replica in plan.replicas:
        prompts += 1 if replica.role != DECODE else 0
        decodes += 1 if replica.role != PREFILL else 0
    return prompts > 0 and decodes > 0


def make_roles_serve(new_plan):
    last = len(new_plan.replicas) - 1
    if last >= 0 and not roles_serve(new_plan):
        replica = new_plan.replicas[last]
        pool, tp, pp = replica.pool, replica.tp, replica.pp
        drop_replica(new_plan, last)
        add_replica(new_plan, pool, tp, pp, MIXED)


def schedule(window, cluster, plan, new_plan, memory):
    for replica in plan.replicas:
        index = find_shape(cluster, replica.pool, replica.tp, replica.pp)
        if index >= 0 and copies_of(cluster, index, plan_gpus(new_plan, replica.pool)) > 0:
            add_replica(new_plan, replica.pool, replica.tp, replica.pp, replica.role)
    for pool in range(len(cluster.pools)):
        used = plan_gpus(new_plan, pool)
        index = best_shape(cluster, pool, used)
        if index >= 0:
            shape = cluster.shapes[index]
            for copy in range(copies_of(cluster, index, used)):
                add_replica(new_plan, pool, shape.tp, shape.pp, MIXED)
    make_roles_serve(new_plan)
