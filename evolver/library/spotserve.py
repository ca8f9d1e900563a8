"""SpotServe: another parallel configuration for every change of capacity, and rescue in the grace.

Paper: SpotServe (arXiv 2311.15566; its project page was read, the configuration rule is recalled).
Taken: preemptible GPUs; at each loss or gain the configuration (copies, pipeline, tensor) is chosen
again, the fastest that sustains the arrival rate, else the one of the highest rate; also under
overload; the grace period is used to save the state of running requests, as late as is safe.
Inferred: the rate a pool must carry is its part of the best total, GPUs about to leave are planned
without, transfers from one instance go one after another. Which device takes which part of the
model (the paper's matching) is the platform's, which keeps replicas that both plans share.
"""

HEADROOM = 1.2  # tune: 1 .. 3
OVERLOAD = 0.95  # tune: 0.5 .. 1.5
SAFETY_S = 2.0  # tune: 0.1 .. 15
SETTLE_S = 60.0  # tune: 10 .. 900


def arrival_rps(window):
    if len(window.classes) == 0:
        return 0.0
    every = window.classes[0]
    if is_missing(every.forecast_rps):
        return max(every.rate_rps, 0.0)
    return max(every.rate_rps, every.forecast_rps)


def copies(cluster, shape):
    pool = cluster.pools[shape.pool]
    return max(min(shape.fits_now, (pool.present - pool.leaving) // shape.gpus), 0)


def best_rate_rps(cluster, pool):
    most = 0.0
    for shape in cluster.shapes:
        if shape.pool == pool:
            most = max(most, copies(cluster, shape) * shape.rate_rps)
    return most


def choose(cluster, pool, needed_rps):
    # The fastest shape whose copies carry the rate; when there is none, the highest rate.
    best, best_latency, best_rps = -1, INF, 0.0
    for i in range(len(cluster.shapes)):
        shape = cluster.shapes[i]
        rps = copies(cluster, shape) * shape.rate_rps
        if shape.pool == pool and rps > 0.0:
            enough = rps >= needed_rps
            faster = best < 0 or best_rps < needed_rps or shape.latency_s < best_latency
            if enough and faster:
                best, best_latency, best_rps = i, shape.latency_s, rps
            elif not enough and rps > best_rps:
                best, best_latency, best_rps = i, shape.latency_s, rps
    return best


def should_reschedule(window, cluster, plan, memory):
    if len(plan.replicas) == 0 or window.capacity_changed or not window.plan_feasible:
        return True
    for pool in range(len(cluster.pools)):
        left = cluster.pools[pool].present - cluster.pools[pool].leaving
        if plan_gpus(plan, pool) > left:
            return True
    overloaded = arrival_rps(window) > OVERLOAD * serving_rate_rps(cluster, plan)
    return overloaded and window.since_plan_s > SETTLE_S


def schedule(window, cluster, plan, new_plan, memory):
    total = 0.0
    for pool in range(len(cluster.pools)):
        total += best_rate_rps(cluster, pool)
    for pool in range(len(cluster.pools)):
        part = ratio(best_rate_rps(cluster, pool), total, 0.0)
        best = choose(cluster, pool, HEADROOM * part * arrival_rps(window))
        if best >= 0:
            shape = cluster.shapes[best]
            for copy in range(copies(cluster, shape)):
                add_replica(new_plan, pool, shape.tp, shape.pp, MIXED)


def route(request, instances, memory):
    best, soonest = instances[0].id, INF
    for inst in instances:
        finish = completion_s(request, inst)
        # What cannot end within the grace would have to be carried away again.
        if inst.grace_s < finish + SAFETY_S:
            finish += inst.grace_s + SAFETY_S
        if finish < soonest:
            best, soonest = inst.id, finish
    return best


def emptiest(instances, used, context):
    best, least = -1, 1.0
    for i in range(len(instances)):
        inst = instances[i]
        stays = is_missing(inst.grace_s) and not inst.draining and not inst.starting
        share = ratio(used[i] + context, inst.kv_capacity_tokens, 1.0)
        if stays and inst.role != PREFILL and share < least:
            best, least = i, share
    return best


def migrate(running, instances, moves, memory):
    used = zeros(len(instances) + 1)
    for i in range(len(instances)):
        used[i] = instances[i].kv_used_tokens
    for inst in instances:
        if not is_missing(inst.grace_s):
            leave_s = 0.0
            for row in running:
                if row.instance == inst.id:
                    leave_s += row.transfer_s
            for row in running:
                end_s = row.predicted_remaining_tokens * inst.step_time_s
                ends_here = end_s + SAFETY_S < inst.grace_s
                due = not inst.grace_s > leave_s + SAFETY_S
                if row.instance == inst.id and due and not ends_here:
                    target = emptiest(instances, used, row.context_tokens)
                    if target >= 0 and add_move(moves, row, instances[target].id):
                        used[target] = used[target] + row.context_tokens
