"""OServe: unlike replicas for unlike requests, the mix of shapes found by local search over flows.

Paper: OServe (arXiv 2602.12151; known from a third party's notes).
Taken: each minute the arrival rate of every type of request is forecast; the inner problem gives
each type a flow to each replica within the replica's capacity, and the flow is the routing table;
the outer search moves GPUs from slack replicas to bottlenecks, until some rounds bring nothing; a
plan is taken when its gain pays for the switch.
Inferred: classes of the contract stand for the paper's clusters of lengths and the door's forecast
for its network per type; a greedy flow, each class first to the shapes that serve it best, stands
for preflow-push; replicas of a kind are one node; every donor is tried, not the slack ones alone.
The switch itself is the platform's.
"""

INTERVAL_S = 60.0  # tune: 30 .. 900
HEADROOM = 1.3  # tune: 1 .. 4
STABILITY_S = 300.0  # tune: 30 .. 3600


def class_rate(shape, c):
    if shape.class_rate_rps[c] > 0.0:
        return shape.class_rate_rps[c]
    return shape.rate_rps


def set_demand(window, cluster, demand, top):
    for row in window.classes:
        if row.class_id > 0 or len(window.classes) == 1:
            rate = row.forecast_rps
            if is_missing(rate):
                rate = row.rate_rps
            demand[row.class_id] = HEADROOM * max(rate, 0.0)
    for c in range(8):
        for shape in cluster.shapes:
            top[c] = max(top[c], class_rate(shape, c) / shape.gpus)


def flow(cluster, count, demand, top, table):
    # Requests per second that count[s] replicas of each shape serve; fills table[s, c] with what
    # shape s serves of class c. table[s, 8]: replicas of it still idle; table[64, c]: demand left.
    for s in range(len(cluster.shapes)):
        for c in range(8):
            table[s, c] = 0.0
        table[s, 8] = count[s]
    for c in range(8):
        table[64, c] = demand[c]
    served = 0.0
    for turn in range(72):
        best_s, best_c, best_fit = -1, -1, 0.0
        for s in range(len(cluster.shapes)):
            if table[s, 8] > 1e-9:
                for c in range(8):
                    if table[64, c] > 1e-9:
                        per_gpu = class_rate(cluster.shapes[s], c) / cluster.shapes[s].gpus
                        fit = ratio(per_gpu, top[c], 0.0)
                        if fit > best_fit:
                            best_s, best_c, best_fit = s, c, fit
        if best_s < 0:
            return served
        rate = class_rate(cluster.shapes[best_s], best_c)
        taken = min(table[64, best_c], table[best_s, 8] * rate)
        table[best_s, best_c] = table[best_s, best_c] + taken
        table[best_s, 8] = table[best_s, 8] - taken / rate
        table[64, best_c] = table[64, best_c] - taken
        served += taken
    return served


def room(cluster, count, s):
    # How many more replicas of shape s the pool holds beside those counted.
    shape = cluster.shapes[s]
    pool = cluster.pools[shape.pool]
    used = 0
    for o in range(len(cluster.shapes)):
        if cluster.shapes[o].pool == shape.pool:
            used += int(count[o]) * cluster.shapes[o].gpus
    blocks = shape.fits_now - (used + shape.gpus - 1) // shape.gpus
    return max(min(blocks, (pool.present - pool.leaving - used) // shape.gpus), 0)


def fill(cluster, count):
    for turn in range(32):
        best, most = -1, 0.0
        for s in range(len(cluster.shapes)):
            rate = room(cluster, count, s) * cluster.shapes[s].rate_rps
            if rate > most:
                best, most = s, rate
        if best < 0:
            return
        count[best] = count[best] + room(cluster, count, best)


def improve(cluster, count, trial, demand, top, table, best_rps):
    # One move, the best of all: replicas of one shape become another shape in the same pool.
    best_from, best_to, best_gone, best_new = -1, -1, 0, 0
    for a in range(len(cluster.shapes)):
        if count[a] > 0.0:
            for b in range(len(cluster.shapes)):
                one = cluster.shapes[a]
                other = cluster.shapes[b]
                if a != b and one.pool == other.pool:
                    for s in range(len(cluster.shapes)):
                        trial[s] = count[s]
                    gone = min((other.gpus + one.gpus - 1) // one.gpus, int(count[a]))
                    trial[a] = count[a] - gone
                    new = min(room(cluster, trial, b), max(one.gpus // other.gpus, 1))
                    trial[b] = count[b] + new
                    rps = flow(cluster, trial, demand, top, table)
                    if rps > best_rps * 1.001:
                        best_rps = rps
                        best_from, best_to, best_gone, best_new = a, b, gone, new
    if best_from >= 0:
        count[best_from] = count[best_from] - best_gone
        count[best_to] = count[best_to] + best_new
    return best_rps


def present_counts(cluster, plan, count):
    for replica in plan.replicas:
        s = find_shape(cluster, replica.pool, replica.tp, replica.pp)
        if s >= 0:
            count[s] = count[s] + 1.0


def switch_s(cluster, old, count):
    longest = 0.0
    for s in range(len(cluster.shapes)):
        if count[s] > old[s]:
            longest = max(longest, cluster.shapes[s].start_s)
    return longest


def write(cluster, new_plan, count, table):
    for s in range(len(cluster.shapes)):
        shape = cluster.shapes[s]
        for copy in range(int(count[s])):
            index = add_replica(new_plan, shape.pool, shape.tp, shape.pp, MIXED)
            for c in range(8):
                total = 0.0
                for o in range(len(cluster.shapes)):
                    total += table[o, c]
                # A class without a flow keeps an equal share, for it must have some route.
                if index >= 0 and total > 0.0:
                    set_share(new_plan, index, c, table[s, c] / total / count[s])


def should_reschedule(window, cluster, plan, memory):
    if len(plan.replicas) == 0 or window.capacity_changed or not window.plan_feasible:
        return True
    return window.since_plan_s >= INTERVAL_S


def schedule(window, cluster, plan, new_plan, memory):
    demand, top, table = zeros(8), zeros(8), zeros(65, 9)
    old, count, trial = zeros(64), zeros(64), zeros(64)
    set_demand(window, cluster, demand, top)
    present_counts(cluster, plan, old)
    settled = window.plan_feasible and len(plan.replicas) > 0
    if settled:
        for s in range(64):
            count[s] = old[s]
    fill(cluster, count)
    old_rps = flow(cluster, old, demand, top, table)
    best_rps = flow(cluster, count, demand, top, table)
    for turn in range(20):
        before = best_rps
        best_rps = improve(cluster, count, trial, demand, top, table, best_rps)
        if best_rps <= before:
            break
    cost_s = switch_s(cluster, old, count)
    if settled and (best_rps - old_rps) * (STABILITY_S - cost_s) <= old_rps * cost_s:
        for s in range(64):
            count[s] = old[s]
    flow(cluster, count, demand, top, table)
    write(cluster, new_plan, count, table)


def route(request, instances, memory):
    # In the planned shares of the request's class: next is who has least for its share.
    best, least = instances[0].id, INF
    for inst in instances:
        has = 1.0 + max(inst.queued_requests, 0) + max(inst.running_requests, 0)
        load = has / inst.share if inst.share > 0.001 else 1e6 * has
        if load < least:
            best, least = inst.id, load
    return best
