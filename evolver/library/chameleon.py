"""Chameleon for serving: after a failure, the recovery that loses least until the next one.

Paper: Chameleon, v3 renamed Odyssey (arXiv 2508.21613), fault tolerance of training; its abstract
was read.
Taken: at a failure a recovery policy is chosen among several by one model of performance, the time
that reconfiguring takes and how much slower everything is afterwards; a quick search of plans.
Inferred, the analogue for serving: go on with what is left (requests are routed elsewhere), rebuild
lost replicas on GPUs that are free, or build the pools anew in the shape that does most; each by
the requests it can serve until the next change of capacity, less those that nobody serves while
engines load. The time to the next change is the mean of those seen. What is beyond demand counts
for nothing: nothing that serves is stopped for it.
Left out: redundant computing, for replicas share no work; what running requests lose is the
platform's to recompute; nothing is done before a failure.
"""

FIRST_HORIZON_S = 600.0  # tune: 30 .. 7200
LEARN = 0.3  # tune: 0.02 .. 1
HEADROOM = 1.5  # tune: 1 .. 4
OVERLOAD = 0.95  # tune: 0.5 .. 1.5
SETTLE_S = 60.0  # tune: 10 .. 900

# Planner memory: 0 mean seconds between changes of capacity, 1 time of the last one, 2 their
# number.


def demand_rps(window):
    if len(window.classes) == 0 or window.classes[0].requests <= 0:
        return INF
    every = window.classes[0]
    rate = every.rate_rps
    if every.forecast_rps > rate:
        rate = every.forecast_rps
    if is_missing(rate):
        return INF
    return HEADROOM * rate


def room(cluster, count, s):
    shape = cluster.shapes[s]
    pool = cluster.pools[shape.pool]
    used = 0
    for o in range(len(cluster.shapes)):
        if cluster.shapes[o].pool == shape.pool:
            used += int(count[o]) * cluster.shapes[o].gpus
    blocks = shape.fits_now - (used + shape.gpus - 1) // shape.gpus
    return max(min(blocks, (pool.present - pool.leaving - used) // shape.gpus), 0)


def still_fits(cluster, count, s):
    # A replica that runs has its place in a node; it needs GPUs that stay, no whole block anew.
    pool, used = cluster.pools[cluster.shapes[s].pool], 0
    for o in range(len(cluster.shapes)):
        if cluster.shapes[o].pool == cluster.shapes[s].pool:
            used += int(count[o]) * cluster.shapes[o].gpus
    return used + cluster.shapes[s].gpus <= pool.present - pool.leaving


def fill(cluster, count, only_kinds, kinds):
    # Free GPUs get replicas of the shape that does most, of the plan's kinds if only those are.
    for turn in range(32):
        best, most = -1, 0.0
        for s in range(len(cluster.shapes)):
            if not only_kinds or kinds[s] > 0.0:
                rate = room(cluster, count, s) * cluster.shapes[s].rate_rps
                if rate > most:
                    best, most = s, rate
        if best < 0:
            return
        count[best] = count[best] + room(cluster, count, best)


def served(cluster, before, after, demand, horizon_s):
    # Requests until the next change: what stays serves while the rest loads.
    stays_rps, new_rps, start_s = 0.0, 0.0, 0.0
    for s, shape in enumerate(cluster.shapes):
        stays_rps += min(before[s], after[s]) * shape.rate_rps
        new_rps += after[s] * shape.rate_rps
        if after[s] > before[s]:
            start_s = max(start_s, shape.start_s)
    loading_s = min(start_s, horizon_s)
    later_s = horizon_s - loading_s
    return min(stays_rps, demand) * loading_s + min(new_rps, demand) * later_s


def learn_horizon(window, memory):
    if memory[2] == 0.0:
        memory[0] = FIRST_HORIZON_S
        memory[1] = window.now_s
        memory[2] = 1.0
    elif window.capacity_changed and window.now_s > memory[1]:
        memory[0] = memory[0] + LEARN * (window.now_s - memory[1] - memory[0])
        memory[1] = window.now_s
        memory[2] = memory[2] + 1.0


def should_reschedule(window, cluster, plan, memory):
    learn_horizon(window, memory)
    if len(plan.replicas) == 0 or window.capacity_changed or not window.plan_feasible:
        return True
    # GPUs that were left free while there was slack are wanted once there is none.
    if cluster.gpus_free <= 0 or window.since_plan_s < SETTLE_S:
        return False
    demand = demand_rps(window)
    return demand < INF and demand / HEADROOM > OVERLOAD * serving_rate_rps(cluster, plan)


def write(cluster, plan, new_plan, count):
    # Replicas that stay keep their roles, new ones do both.
    left = zeros(64)
    for s in range(64):
        left[s] = count[s]
    for replica in plan.replicas:
        s = find_shape(cluster, replica.pool, replica.tp, replica.pp)
        if s >= 0 and left[s] > 0.0:
            left[s] = left[s] - 1.0
            add_replica(new_plan, replica.pool, replica.tp, replica.pp, replica.role)
    # The larger ones first, as they need whole blocks of a node.
    for size in range(7):
        gpus = 64 >> size
        for s, shape in enumerate(cluster.shapes):
            if shape.gpus <= gpus and 2 * shape.gpus > gpus:
                for copy in range(int(left[s])):
                    add_replica(new_plan, shape.pool, shape.tp, shape.pp, MIXED)
    make_roles_serve(new_plan)


def make_roles_serve(new_plan):
    prompts, answers, last = 0, 0, len(new_plan.replicas) - 1
    for replica in new_plan.replicas:
        prompts += 1 if replica.role != DECODE else 0
        answers += 1 if replica.role != PREFILL else 0
    if last >= 0 and (prompts == 0 or answers == 0):
        replica = new_plan.replicas[last]
        pool, tp, pp = replica.pool, replica.tp, replica.pp
        drop_replica(new_plan, last)
        add_replica(new_plan, pool, tp, pp, MIXED)


def schedule(window, cluster, plan, new_plan, memory):
    kinds, left, rebuilt, anew = zeros(64), zeros(64), zeros(64), zeros(64)
    for replica in plan.replicas:
        s = find_shape(cluster, replica.pool, replica.tp, replica.pp)
        if s >= 0:
            kinds[s] = kinds[s] + 1.0
            if replica.instance >= 0 and still_fits(cluster, left, s):
                left[s] = left[s] + 1.0
    for s in range(64):
        rebuilt[s] = left[s]
    fill(cluster, rebuilt, True, kinds)
    fill(cluster, rebuilt, False, kinds)
    fill(cluster, anew, False, kinds)
    demand, horizon_s = demand_rps(window), FIRST_HORIZON_S
    if memory[2] > 0.0:
        horizon_s = max(memory[0], 1.0)
    best, most = 0, served(cluster, left, left, demand, horizon_s)
    if most <= 0.0:
        best, most = 1, 0.0
    second = served(cluster, left, rebuilt, demand, horizon_s)
    third = served(cluster, left, anew, demand, horizon_s)
    # Free GPUs cost nobody anything; what serves is stopped only for more.
    if second >= most:
        best, most = 1, second
    if third > 1.001 * most:
        best = 2
    if best == 0:
        write(cluster, plan, new_plan, left)
    elif best == 1:
        write(cluster, plan, new_plan, rebuilt)
    else:
        write(cluster, plan, new_plan, anew)


def route(request, instances, memory):
    best, soonest = instances[0].id, INF
    for inst in instances:
        finish = completion_s(request, inst)
        if is_missing(finish) or finish == INF:
            finish = 1.0 * max(inst.queued_requests, 0) + max(inst.running_requests, 0)
        if inst.role != PREFILL and inst.kv_used_tokens > 0.95 * inst.kv_capacity_tokens:
            finish += 60.0
        if inst.draining or inst.starting:
            finish += 1e6
        if finish < soonest:
            best, soonest = inst.id, finish
    return best
